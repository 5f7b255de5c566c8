"""A node's call with all that can be done ahead of its attempts already done."""

from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy

import msgspec
from pydantic import ValidationError

from weftline_executor.nodes.config import explain, validate
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.declare import Declaration
from weftline_executor.nodes.errors import ConfigInvalid, NodeTypeError
from weftline_executor.nodes.scope import Scope

_IMMUTABLE = (str, int, float, bool, type(None))


class PreparedCall:
    """The function of a node together with its configuration, made by `NodeType.prepare`."""

    __slots__ = (
        "_compiled",
        "_config",
        "_declaration",
        "_failure",
        "_function",
        "_node_ids",
        "_shared",
        "_static",
        "_type_name",
    )

    def __init__(
        self, type_name: str, function: Callable[..., object], declaration: Declaration, config: dict[str, object]
    ) -> None:
        self._type_name = type_name
        self._function = function
        self._declaration = declaration
        self._config = config
        self._compiled = declaration.compile(config)
        self._node_ids = tuple({name: None for made in self._compiled.templates.values() for name in made.node_ids})
        self._failure: NodeTypeError | None = next(iter(self._compiled.failures.values()), None)
        self._static: dict[str, object] | None = None
        self._shared: dict[str, object] | None = None
        if self._failure is None and not self._compiled.templates:
            self._fix(config)

    @property
    def needs_inputs(self) -> bool:
        """Whether the call reads what arrived at the node; when not, nobody need gather it."""
        return self._declaration.wants_inputs or bool(self._compiled.templates)

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The nodes that the expressions name."""
        return self._node_ids

    def bind(self, scope: Scope) -> dict[str, object]:
        """Give the function's keyword arguments: expressions rendered, everything validated.

        The dict may be the same at each call and must not be changed. Raises `ConfigInvalid` or `ExpressionFailed`.
        """
        if self._shared is not None:
            return self._shared
        if self._failure is not None:
            # The same error is raised at each attempt, and must not gather the frames of all of them.
            raise self._failure.with_traceback(None)
        if self._static is None:
            kwargs = self._validate(self._compiled.render(scope))
        else:
            kwargs = {name: _fresh(value) for name, value in self._static.items()}
        if self._declaration.wants_params:
            kwargs["params"] = _copy(scope.params)
        return kwargs

    def rendered(self, scope: Scope) -> dict[str, object]:
        """Give the configuration as plain JSON with its expressions rendered, to be validated elsewhere.

        Must not be changed. Raises `ConfigInvalid` or `ExpressionFailed`.
        """
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        return self._config if self._static is not None else self._compiled.render(scope)

    def given(self, scope: Scope, inputs: Mapping[str, object]) -> bytes:
        """Give as JSON all that the function would be given: the same text for the same values, whatever their order.

        Raises `ConfigInvalid` or `ExpressionFailed`.
        """
        given: dict[str, object] = {"config": self.rendered(scope)}
        per_item = [template for template in self._compiled.templates.values() if template.per_item]
        if self._declaration.wants_inputs or per_item:
            given["inputs"] = dict(inputs)
        if self._declaration.wants_params or per_item:
            given["params"] = scope.params
        if per_item:
            # These are not rendered yet, and so what they read counts instead of what they give.
            node_ids = {node_id for template in per_item for node_id in template.node_ids}
            given["nodes"] = {node_id: scope.nodes[node_id] for node_id in node_ids if node_id in scope.nodes}
            given["sources"] = [template.source for template in per_item]
            given["run"] = scope.run if any("run" in template.source for template in per_item) else None
        return msgspec.json.encode(given, enc_hook=_unrendered, order="deterministic")

    def call(
        self, ctx: Context, kwargs: Mapping[str, object], inputs: Mapping[str, object]
    ) -> object | Awaitable[object]:
        """Call the function, with a copy of `inputs` if it wants them; of an `async def` this gives the awaitable."""
        if self._declaration.wants_inputs:
            return self._function(ctx, inputs=_copy(inputs), **kwargs)
        return self._function(ctx, **kwargs)

    def _fix(self, config: dict[str, object]) -> None:
        try:
            self._static = self._validate(config)
        except ConfigInvalid as error:
            self._failure = error
            return
        # One dict serves all attempts, unless a function could change something in it.
        if not self._declaration.wants_params and all(isinstance(v, _IMMUTABLE) for v in self._static.values()):
            self._shared = self._static

    def _validate(self, config: Mapping[str, object]) -> dict[str, object]:
        return arguments(self._type_name, self._declaration, config)


def arguments(type_name: str, declaration: Declaration, config: Mapping[str, object]) -> dict[str, object]:
    """Give the keyword arguments that a rendered configuration stands for; raises `ConfigInvalid`."""
    try:
        validated = validate(type_name, declaration.model, config)
    except ValidationError as error:
        raise ConfigInvalid(explain(type_name, declaration.model, config, error)) from None
    values = validated.__dict__
    return {parameter: values[field] for parameter, field in declaration.fields}


def _unrendered(_value: object) -> str:
    """Stands for an expression that is evaluated later."""
    return ""


def _copy(values: Mapping[str, object]) -> dict[str, object]:
    # Other nodes are given the same values, so what a function does to its own must not reach them.
    return msgspec.json.decode(msgspec.json.encode(dict(values)), type=dict[str, object])


def _fresh(value: object) -> object:
    # A bare object is a mark for "not given", which is known by its identity.
    return value if isinstance(value, _IMMUTABLE) or type(value) is object else deepcopy(value)
