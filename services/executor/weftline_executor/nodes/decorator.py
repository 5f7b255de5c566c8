"""The decorator that makes a function a node type."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, Protocol, TypeVar, cast, get_args

from weftline_executor.nodes.declare import check_name, declare, schema_of
from weftline_executor.nodes.errors import BadDeclaration
from weftline_executor.nodes.node_type import (
    MAX_HANDLE,
    Expects,
    HandleNames,
    Idempotency,
    IdempotencyOf,
    Isolation,
    NodeType,
    ProcessLimits,
)

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class NodeFunction(Protocol[P, R_co]):
    """A decorated function: callable as it was, with its node type at hand."""

    node_type: NodeType

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""


def node(
    name: str,
    *,
    title: str | None = None,
    idempotency: Idempotency = "safe",
    isolation: Isolation | None = None,
    memory_mb: int | None = None,
    cpu_seconds: int | None = None,
    outputs: Sequence[str] = ("output",),
    handle_names: HandleNames | None = None,
    expects: Expects | None = None,
    errors: Mapping[str, str] | None = None,
    idempotency_of: IdempotencyOf | None = None,
    version: str = "",
) -> Callable[[Callable[P, R_co]], NodeFunction[P, R_co]]:
    """Make a function a node type called `name`.

    The parameters after `ctx` are its settings: each has a type, and a default unless it is required. A parameter
    `inputs` is given what arrived, by handle, and `params` the parameters of the run. The docstring is the
    description. An `async def` runs in the event loop, a plain `def` in a thread, or with `isolation="inline"`
    directly in the event loop, which is for functions that are done in microseconds. With `isolation="process"` either
    runs in a worker process, if the type stands at the top level of a module; `memory_mb` and `cpu_seconds` bound what
    an attempt may take, 0 for no bound.

    `idempotency` says what happens to a node that ran when the process died: `safe` runs it again, `keyed` runs it
    again with the same `ctx.idempotency_key`, `unsafe` pauses the run until a person decides. `outputs` are the
    handles that edges may leave from; `handle_names` gives those that the configuration names, by path. `expects` gives
    how long a node of a configuration takes, in milliseconds, or None; else what was measured before is expected.
    `errors` says, by the code of each of its errors, when the type fails with it; `idempotency_of` gives the
    idempotency where the configuration decides on it. Results that are kept for `policy.cache` are those of one
    `version`. Raises `BadDeclaration` when the function cannot be a node type.
    """

    def decorate(function: Callable[P, R_co]) -> NodeFunction[P, R_co]:
        check_name(name)
        shown_title = title or name.replace(".", " ").replace("_", " ").capitalize()
        description = inspect.getdoc(function) or ""
        declaration = declare(name, function)
        decorated = cast("NodeFunction[P, R_co]", function)
        decorated.node_type = NodeType(
            name=name,
            title=shown_title,
            description=description,
            config_schema=schema_of(name, shown_title, description, declaration.model),
            outputs=_outputs(name, outputs, handle_names is not None),
            dynamic_handles=handle_names is not None,
            idempotency=_idempotency(name, idempotency),
            isolation=_isolation(name, function, isolation, per_item=bool(declaration.per_item)),
            function=function,
            declaration=declaration,
            limits=_limits(name, isolation, memory_mb, cpu_seconds),
            handle_names=handle_names,
            expects=expects,
            errors=dict(errors or {}),
            idempotency_of=idempotency_of,
            version=version,
        )
        return decorated

    return decorate


def _outputs(name: str, outputs: Sequence[str], dynamic: bool) -> tuple[str, ...]:
    if isinstance(outputs, str) or not all(isinstance(handle, str) and handle for handle in outputs):
        raise BadDeclaration(name, f"outputs is a tuple of handles, not {outputs!r}")
    if any(len(handle) > MAX_HANDLE for handle in outputs):
        raise BadDeclaration(name, f"an output handle has at most {MAX_HANDLE} characters")
    if len(set(outputs)) != len(outputs):
        raise BadDeclaration(name, f"an output handle is named twice in {outputs!r}")
    if not outputs and not dynamic:
        raise BadDeclaration(name, "it needs an output handle")
    return tuple(outputs)


def _idempotency(name: str, idempotency: Idempotency) -> Idempotency:
    if idempotency not in get_args(Idempotency):
        raise BadDeclaration(name, f"idempotency is one of safe, keyed, unsafe, not {idempotency!r}")
    return idempotency


def _isolation(name: str, function: Callable[..., object], isolation: Isolation | None, *, per_item: bool) -> Isolation:
    if isolation == "process" and per_item:
        raise BadDeclaration(name, "an expression for each item cannot be taken to a process")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadDeclaration(name, "its function must return, not yield")
    is_async = inspect.iscoroutinefunction(function)
    if isolation is None:
        return "async" if is_async else "thread"
    if isolation not in get_args(Isolation):
        raise BadDeclaration(name, f"isolation is one of inline, async, thread, process, not {isolation!r}")
    if isolation != "process" and is_async != (isolation == "async"):
        kind = "an `async def`" if is_async else "a plain `def`"
        raise BadDeclaration(name, f"the isolation {isolation!r} does not fit {kind}")
    return isolation


def _limits(name: str, isolation: Isolation | None, memory_mb: int | None, cpu_seconds: int | None) -> ProcessLimits:
    for setting, value in (("memory_mb", memory_mb), ("cpu_seconds", cpu_seconds)):
        if value is None:
            continue
        if isolation != "process":
            raise BadDeclaration(name, f"{setting} bounds a process, so it needs isolation='process'")
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise BadDeclaration(name, f"{setting} is a whole number from 0, not {value!r}")
    return ProcessLimits(memory_mb, cpu_seconds)
