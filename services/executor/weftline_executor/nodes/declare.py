"""Reads a node's configuration from the typed parameters of its function."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from weftline_executor.nodes.config import FOREIGN_KEYS, CompiledConfig, compile_config
from weftline_executor.nodes.errors import BadDeclaration

# Parameters of these names are given what they say instead of being configuration.
OFFERED = frozenset({"inputs", "params"})

# Keeps a parameter called, say, `json` from shadowing a method of pydantic's model.
_PREFIX = "setting_"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*")
_MAX_NAME = 64


class Expression:
    """Marks a parameter whose text is an expression even without braces: `Annotated[object, Expression()]`."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "format": "expression"}


class PerItem:
    """Marks a parameter whose text is an expression about each item of a list, with braces or without.

    The function is given an `ItemExpression` in its place: `Annotated[ItemExpression, PerItem()]`.
    """


class Verbatim:
    """Marks a parameter whose text is never an expression, whatever braces it holds: `Annotated[str, Verbatim()]`."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "format": "verbatim"}


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """What a function's parameters say: its model, the fields by parameter, and what else it wants to be given."""

    model: type[BaseModel]
    fields: tuple[tuple[str, str], ...]
    bare: frozenset[str]
    per_item: frozenset[str]
    verbatim: frozenset[str]
    wants_inputs: bool
    wants_params: bool

    def compile(self, config: Mapping[str, object]) -> CompiledConfig:
        """Compile the expressions in a configuration."""
        return compile_config(config, self.bare, self.per_item, self.verbatim)


def check_name(name: str) -> None:
    """Raise `BadDeclaration` unless a name is made of dotted words such as `shop.reserve`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise BadDeclaration(
            str(name), f"a name is made of letters, digits, - and _ in dotted words, at most {_MAX_NAME} characters"
        )


def declare(name: str, function: Callable[..., object]) -> Declaration:
    """Build the model of a function's configuration; raises `BadDeclaration`."""
    parameters = _parameters(name, function)
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError, SyntaxError) as error:
        raise BadDeclaration(name, f"a type of its parameters cannot be resolved: {error}") from error
    settings = [parameter for parameter in parameters if parameter.name not in OFFERED]
    fields: dict[str, Any] = {}
    for parameter in settings:
        _, info = fields[_PREFIX + parameter.name] = _field(name, parameter, hints)
        if any(info.alias == other.alias for _, other in list(fields.values())[:-1]):
            raise BadDeclaration(name, f"two settings are called `{info.alias}`")
    try:
        model = create_model(name, __config__=_config(), **fields)
    except (PydanticUserError, TypeError, ValueError) as error:
        raise BadDeclaration(name, f"pydantic refuses a type of its parameters: {error}") from error
    offered = {parameter.name for parameter in parameters} & OFFERED
    return Declaration(
        model=model,
        fields=tuple((parameter.name, _PREFIX + parameter.name) for parameter in settings),
        bare=_marked(model, Expression),
        per_item=_marked(model, PerItem),
        verbatim=_marked(model, Verbatim),
        wants_inputs="inputs" in offered,
        wants_params="params" in offered,
    )


def schema_of(name: str, title: str, description: str, model: type[BaseModel]) -> dict[str, object]:
    """Give the JSON Schema of a node's `data`: its settings, and whatever the canvas and the engine keep there."""
    try:
        schema: dict[str, object] = model.model_json_schema()
    except PydanticUserError as error:
        raise BadDeclaration(name, f"a type of its parameters has no JSON Schema: {error}") from error
    canvas = "|".join(sorted(FOREIGN_KEYS))
    return {**schema, "title": title, "description": description, "patternProperties": {f"^({canvas})$": {}}}


def _config() -> ConfigDict:
    return ConfigDict(extra="forbid", coerce_numbers_to_str=True, arbitrary_types_allowed=False)


def _parameters(name: str, function: Callable[..., object]) -> Sequence[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].name != "ctx" or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise BadDeclaration(name, "the first parameter of its function must be `ctx`")
    for parameter in parameters[1:]:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise BadDeclaration(name, f"every setting is a parameter of its own, so `{parameter}` is not possible")
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise BadDeclaration(name, f"the parameter `{parameter.name}` must not be positional only")
        if parameter.name.startswith("_"):
            raise BadDeclaration(name, f"the parameter `{parameter.name}` must not begin with an underscore")
        if parameter.name in OFFERED and parameter.default is not inspect.Parameter.empty:
            raise BadDeclaration(name, f"the parameter `{parameter.name}` is always given and takes no default")
    return parameters[1:]


def _field(name: str, parameter: inspect.Parameter, hints: dict[str, Any]) -> tuple[Any, FieldInfo]:
    if parameter.name not in hints:
        raise BadDeclaration(name, f"the parameter `{parameter.name}` needs a type")
    hint = hints[parameter.name]
    default = parameter.default
    key = _key(name, parameter.name, hint)
    if default is inspect.Parameter.empty:
        return hint, Field(alias=key)
    if _is_json(default):
        return hint, Field(default, alias=key)
    # A default that JSON cannot hold, such as a bare object that stands for "not given", stays out of the schema.
    return hint, Field(default_factory=lambda: default, alias=key)


def _key(name: str, parameter: str, hint: object) -> str:
    """Give what a setting is called in a node's `data`: as its parameter, unless its type has an alias."""
    marks = getattr(hint, "__metadata__", ())
    key = next((mark.alias for mark in marks if isinstance(mark, FieldInfo) and mark.alias), parameter)
    if key in FOREIGN_KEYS:
        raise BadDeclaration(name, f"the key `{key}` of a node belongs to the canvas or the engine")
    return key


def _is_json(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return False
    return True


def _marked(model: type[BaseModel], mark: type) -> frozenset[str]:
    fields = model.model_fields.values()
    return frozenset(info.alias or "" for info in fields if any(isinstance(each, mark) for each in info.metadata))
