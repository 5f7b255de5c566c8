"""A node type: its name, its configuration, its handles, and the function behind it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from weftline_executor.graph.bodies import BODY_TYPES
from weftline_executor.nodes.config import find_faults, own_part
from weftline_executor.nodes.declare import Declaration
from weftline_executor.nodes.errors import clip
from weftline_executor.nodes.expressions import is_template
from weftline_executor.nodes.faults import ConfigFault, Reference, path_text
from weftline_executor.nodes.prepared import PreparedCall, arguments

MAX_HANDLE = 256
"""How many characters the name of an output handle may have."""

_BUILTINS = "weftline_executor.nodes.builtin."

INLINE_MS = 1.0
"""What a node takes whose function is done in microseconds."""

Idempotency = Literal["safe", "keyed", "unsafe"]
Isolation = Literal["inline", "async", "thread", "process"]


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What an attempt of a type may take in a worker process; None where the executor's setting holds, 0 for no bound.

    `memory_mb` counts what is taken beyond the worker itself, `cpu_seconds` the time of computing.
    """

    memory_mb: int | None = None
    cpu_seconds: int | None = None


# Gives how long a node of a configuration takes, in milliseconds, where the configuration says so.
Expects = Callable[[Mapping[str, object]], float | None]

# Gives what happens to a node of a configuration that ran when the process died.
IdempotencyOf = Callable[[Mapping[str, object]], Idempotency]

# Gives the output handles that a configuration names, by the path of the setting that names it.
HandleNames = Callable[[Mapping[str, object]], Mapping[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class NodeType:
    """What the engine knows of a node type; made by `@node`.

    `config_schema` is the JSON Schema of a node's `data` once its expressions are rendered. `outputs` are the handles
    that every node of the type has; with `dynamic_handles` the configuration names more. `errors` says, by code, when a
    node of the type fails.
    """

    name: str
    title: str
    description: str
    config_schema: dict[str, object]
    outputs: tuple[str, ...]
    dynamic_handles: bool
    idempotency: Idempotency
    isolation: Isolation
    function: Callable[..., object]
    declaration: Declaration
    limits: ProcessLimits = ProcessLimits()
    handle_names: HandleNames | None = None
    expects: Expects | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    idempotency_of: IdempotencyOf | None = None
    version: str = ""

    @property
    def loop(self) -> str:
        """Which coroutines this type's share an event loop with: those of the built-in types, else of its own alone."""
        return "" if self.function.__module__.startswith(_BUILTINS) else self.name

    def expected_ms(self, data: Mapping[str, object]) -> float | None:
        """Give how long the configuration says that a node takes, in milliseconds; None where it says nothing.

        A type whose `expects` fails, or gives what is no time, says nothing.
        """
        if self.expects is None:
            return INLINE_MS if self.isolation == "inline" else None
        try:
            expected = self.expects(data)
            milliseconds = None if expected is None else float(expected)
        except Exception:
            # An author's code, which may stumble over data that is not valid, or over the text of an expression.
            return None
        return milliseconds if milliseconds is not None and 0.0 <= milliseconds < math.inf else None

    def idempotency_for(self, data: Mapping[str, object]) -> Idempotency:
        """Give the idempotency of a node with this `data`, which is that of the type unless the data says more."""
        if self.idempotency_of is None:
            return self.idempotency
        try:
            return self.idempotency_of(data)
        except Exception:
            # An author's code, which may stumble over data that is not valid.
            return self.idempotency

    def handles(self, data: Mapping[str, object]) -> tuple[str, ...]:
        """Give the output handles of a node with this `data`; what `check` would refuse is passed over."""
        try:
            named = self._named_handles(data)
        except Exception:
            return self.outputs
        return tuple(dict.fromkeys((*self.outputs, *named.values())))

    def check(self, data: Mapping[str, object]) -> list[ConfigFault]:
        """Say all that is wrong with a node's `data`; values that come from expressions are checked when it runs."""
        config = own_part(data)
        compiled = self.declaration.compile(config)
        faults = find_faults(self.name, self.declaration.model, config, compiled)
        try:
            named = self._named_handles(data)
        except Exception as error:
            # Where the data is at fault, that is why, and has been said.
            return faults or [_cannot_name_handles(self.name, error)]
        if _asks_for_cache(data):
            faults += self._check_cache(data)
        if self.name in BODY_TYPES and self.isolation == "process":
            message = f"{self.name} runs a body, which it can't do from a worker process; declare it without isolation."
            faults.append(ConfigFault("", "body_in_process", message))
        for path, handle in named.items():
            if is_template(handle):
                message = f"`{path}` names an output handle, so it cannot be an expression."
                faults.append(ConfigFault(path, "invalid_value", message))
            elif len(handle) > MAX_HANDLE and path not in {fault.path for fault in faults}:
                message = f"`{path}` names an output handle, which has at most {MAX_HANDLE} characters."
                faults.append(ConfigFault(path, "invalid_value", message))
        return faults

    def references(self, data: Mapping[str, object]) -> list[Reference]:
        """List the nodes and inputs that the expressions in a node's `data` read; what can't be read is left out."""
        templates = self.declaration.compile(own_part(data)).templates.items()
        nodes = [Reference(path_text(path), node_id) for path, made in templates for node_id in made.node_ids]
        return nodes + [Reference(path_text(path), "", handle) for path, made in templates for handle in made.handles]

    def prepare(self, data: Mapping[str, object]) -> PreparedCall:
        """Do once per node what each attempt would repeat; never raises: a bad `data` is raised by `bind`."""
        return PreparedCall(self.name, self.function, self.declaration, own_part(data))

    def arguments(self, config: Mapping[str, object]) -> dict[str, object]:
        """Give the keyword arguments that a rendered configuration stands for; raises `ConfigInvalid`."""
        return arguments(self.name, self.declaration, config)

    def _check_cache(self, data: Mapping[str, object]) -> list[ConfigFault]:
        """Say why a kept result must not take the place of running a node."""
        message = ""
        if self.name in BODY_TYPES:
            message = f"A {self.name} keeps no result of its own; ask for the cache at the nodes inside it."
        elif self.idempotency_for(data) == "unsafe":
            message = f"A {self.name} must not be taken to have run when it has not."
        return [ConfigFault("policy.cache", "invalid_value", message)] if message else []

    def _named_handles(self, data: Mapping[str, object]) -> Mapping[str, str]:
        """Give the output handles that the configuration names; raises whatever the author's code does."""
        if self.handle_names is None:
            return {}
        named = self.handle_names(data)
        if not isinstance(named, Mapping) or not all(isinstance(text, str) for pair in named.items() for text in pair):
            raise TypeError("it does not give an object from paths to handles")
        return named


def _asks_for_cache(data: Mapping[str, object]) -> bool:
    policy = data.get("policy")
    return isinstance(policy, Mapping) and policy.get("cache") not in (None, False)


def _cannot_name_handles(type_name: str, error: Exception) -> ConfigFault:
    message = f"{type_name} cannot name its output handles for this data: {type(error).__name__}: {clip(str(error))}."
    return ConfigFault("", "bad_declaration", message)
