"""A node's configuration: which part of `data` it is, its expressions, and what is wrong with it."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from weftline_executor.nodes.errors import ConfigInvalid, ExpressionFailed, clip
from weftline_executor.nodes.expressions import Template, compile_item, compile_one, compile_text, is_template
from weftline_executor.nodes.faults import ConfigFault, FaultCode, Path, path_text
from weftline_executor.nodes.items import ItemExpression
from weftline_executor.nodes.scope import Scope
from weftline_executor.nodes.values import Budget

# These keys of a node's `data` belong to the canvas and the engine.
FOREIGN_KEYS = frozenset({"label", "description", "ui", "policy"})


def own_part(data: Mapping[str, object]) -> dict[str, object]:
    """Give the part of a node's `data` that its type is concerned with."""
    return {key: value for key, value in data.items() if key not in FOREIGN_KEYS}


@dataclass(slots=True)
class CompiledConfig:
    """A configuration whose strings with expressions are replaced by templates in `tree`.

    A string that cannot be compiled stays in `tree` as it is, and is listed in `failures`.
    """

    tree: dict[str, object]
    templates: dict[Path, Template] = field(default_factory=dict)
    failures: dict[Path, ExpressionFailed] = field(default_factory=dict)

    def render(self, scope: Scope) -> dict[str, object]:
        """Give the configuration with every expression replaced by its value; raises `ExpressionFailed`.

        All expressions share one budget, so that a node cannot take longer by having more of them.
        """
        budget = Budget()
        return {key: _render(value, scope, (key,), budget) for key, value in self.tree.items()}


def compile_config(
    config: Mapping[str, object],
    bare: frozenset[str],
    per_item: frozenset[str] = frozenset(),
    verbatim: frozenset[str] = frozenset(),
) -> CompiledConfig:
    """Compile every string that holds an expression.

    A string under a key in `bare` or `per_item` is one, with braces or without; one in `per_item` is not replaced by a
    value but by an `ItemExpression`. What is under a key in `verbatim` never is one.
    """
    compiled = CompiledConfig({})
    for key, value in config.items():
        compiler = compile_item if key in per_item else compile_one if key in bare else None
        compiled.tree[key] = value if key in verbatim else _compile(value, (key,), compiled, compiler)
    return compiled


def _compile(value: object, path: Path, into: CompiledConfig, bare: Callable[[str], Template] | None = None) -> object:
    if isinstance(value, str):
        if not (bare or is_template(value)):
            return value
        try:
            template = (bare or compile_text)(value)
        except ExpressionFailed as error:
            into.failures[path] = error.at(path_text(path))
            return value
        into.templates[path] = template
        return template
    if isinstance(value, Mapping):
        return {key: _compile(item, (*path, key), into) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_compile(item, (*path, index), into) for index, item in enumerate(value)]
    return value


def _render(value: object, scope: Scope, path: Path, budget: Budget) -> object:
    if isinstance(value, Template):
        if value.per_item:
            return ItemExpression(value, scope, path_text(path))
        try:
            return value.render(scope, budget)
        except ExpressionFailed as error:
            raise error.at(path_text(path)) from error.__cause__
    if isinstance(value, dict):
        return {key: _render(item, scope, (*path, key), budget) for key, item in value.items()}
    if isinstance(value, list):
        return [_render(item, scope, (*path, index), budget) for index, item in enumerate(value)]
    return value


def find_faults(
    type_name: str, model: type[BaseModel], config: Mapping[str, object], compiled: CompiledConfig
) -> list[ConfigFault]:
    """Say all that is wrong with a configuration before its expressions are rendered."""
    faults = [ConfigFault(path_text(path), "bad_expression", str(error)) for path, error in compiled.failures.items()]
    unknown = {*compiled.templates, *compiled.failures}
    try:
        validate(type_name, model, config)
    except ValidationError as error:
        faults += explain(type_name, model, config, error, unknown)
    except ConfigInvalid as error:
        # A validator may stumble over the text of an expression, whose value it will be given when the node runs.
        faults += [] if unknown else error.faults
    return faults


def validate(type_name: str, model: type[BaseModel], config: Mapping[str, object]) -> BaseModel:
    """Give the settings as pydantic makes them; raises its `ValidationError`.

    Raises `ConfigInvalid` when a validator of the type's author ends with an error that pydantic does not expect.
    """
    try:
        return model.model_validate(config)
    except ValidationError:
        raise
    except Exception as error:
        message = f"A validator of {type_name} failed with {type(error).__name__}: {clip(str(error))}."
        raise ConfigInvalid([ConfigFault("", "invalid_value", message)]) from error


def explain(
    type_name: str,
    model: type[BaseModel],
    config: Mapping[str, object],
    error: ValidationError,
    unknown: Iterable[Path] = (),
) -> list[ConfigFault]:
    """Turn the errors of pydantic into faults, leaving out what depends on the values at the `unknown` paths."""
    unknown = tuple(unknown)
    keys = {name: info.alias or name for name, info in model.model_fields.items()}
    faults: dict[tuple[str, FaultCode], str] = {}
    for details in error.errors(include_url=False, include_context=False):
        path, tagged = _locate(details, config, keys)
        if any(_depends(details["type"], path, tagged, other) for other in unknown):
            continue
        where, code = path_text(path), _code(details["type"])
        if code == "unknown_key":
            # Only the keys of the node itself are known here, not those of objects inside its settings.
            near = difflib.get_close_matches(str(path[-1]), keys.values(), 1) if len(path) == 1 else []
            message = _unknown_key(type_name, where, near)
        else:
            message = _sentence(where, code, details)
        earlier = faults.get((where, code))
        # The members of a union each complain about the same value.
        faults[where, code] = message if earlier is None else f"{earlier[:-1]}, or: {message}"
    return [ConfigFault(where, code, message) for (where, code), message in faults.items()]


def _locate(details: ErrorDetails, config: Any, keys: Mapping[str, str]) -> tuple[Path, bool]:
    """Give the path of an error in the data, and whether pydantic's own held more, such as the member of a union."""
    path: list[str | int] = []
    tagged = False
    current = config
    # A default that is at fault goes by the name of its field.
    first, *others = details["loc"]
    location = [keys.get(str(first), first), *others]
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if _holds(current, part):
            current = current[part]
        elif index and not (is_last and details["type"] == "missing"):
            tagged = True
            continue
        path.append(part)
    return tuple(path), tagged


def _holds(container: object, part: str | int) -> bool:
    if isinstance(container, Mapping):
        return part in container
    return isinstance(container, list | tuple) and isinstance(part, int) and part < len(container)


def _depends(error_type: str, path: Path, tagged: bool, unknown: Path) -> bool:
    if path[: len(unknown)] == unknown:
        return error_type != "extra_forbidden"
    if unknown[: len(path)] != path or error_type in {"missing", "extra_forbidden"}:
        return False
    # A container of the wrong kind stays so whatever its items become, unless another member of a union may take it.
    return tagged or not error_type.endswith("_type")


def _code(error_type: str) -> FaultCode:
    if error_type == "missing":
        return "missing_field"
    if error_type == "extra_forbidden":
        return "unknown_key"
    wrong_type = error_type.endswith(("_type", "_parsing", "_from_float")) or error_type.startswith("is_")
    return "wrong_type" if wrong_type else "invalid_value"


def _unknown_key(type_name: str, where: str, near: list[str]) -> str:
    hint = f"; did you mean `{near[0]}`?" if near else "."
    return f"`{where}` is not a setting of {type_name}{hint}"


def _sentence(where: str, code: FaultCode, details: ErrorDetails) -> str:
    if code == "missing_field":
        return f"`{where}` is required."
    # Pydantic begins with what the value is called in Python: "Input should", "String should", "Value error, ".
    _, should, rest = details["msg"].removeprefix("Value error, ").partition("should ")
    said = should + rest or details["msg"]
    return f"`{where}` {said}, but is {clip(repr(details['input']), 60)}."
