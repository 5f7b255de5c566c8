"""The errors of node types: in their declaration, their configuration, their expressions and their work."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from weftline_executor.nodes.faults import ConfigFault


class NodeTypeError(Exception):
    """Base of every error of this package."""


class BadDeclaration(NodeTypeError):
    """A function cannot be made a node type; raised when its module is imported."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"node type {name!r}: {reason}")
        self.name = name
        self.reason = reason


class DuplicateNodeType(NodeTypeError):
    """Two plugins declare a node type of the same name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(f"node type {name!r} is declared by {first} and again by {second}")
        self.name = name
        self.first = first
        self.second = second


class PluginFailed(NodeTypeError):
    """A plugin could not be loaded; `__cause__` holds the error of its import, if that is why."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(f"node plugin {plugin!r}: {reason}")
        self.plugin = plugin
        self.reason = reason


class ConfigInvalid(NodeTypeError):
    """A node's configuration is not what its type asks for."""

    code: ClassVar[str] = "bad_config"

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        super().__init__(" ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


class ExpressionFailed(NodeTypeError):
    """An expression cannot be compiled, or has no value now.

    `path` names the field that holds it, and is empty while that is not known.
    """

    code: ClassVar[str] = "bad_expression"

    def __init__(self, reason: str, source: str, path: str = "") -> None:
        where = f"`{path}`: " if path else ""
        super().__init__(f"{where}{reason} (in the expression {clip(source)})")
        self.reason = reason
        self.source = source
        self.path = path

    def at(self, path: str) -> "ExpressionFailed":
        """Give the same error, naming the field."""
        return ExpressionFailed(self.reason, self.source, path)


class NodeFailed(NodeTypeError):
    """Raised by a node to fail with a message for a person, a code for a program, and JSON details.

    Where the node's policy says to retry, it is tried again unless `retryable` is false, and not before `retry_after`
    seconds have passed.

    What is not of the right type is made so: `message` and `code` become text, `details` that are no mapping are kept
    under the key `details`. Nothing is raised, since that would hide the failure.
    """

    def __init__(
        self,
        message: str,
        code: str = "node_failed",
        details: Mapping[str, object] | None = None,
        *,
        retryable: bool = True,
        retry_after: float | None = None,
    ) -> None:
        self.message = _text_of(message)
        self.code = _text_of(code)
        self.details = _mapping_of(details)
        self.retryable = retryable
        self.retry_after = retry_after
        super().__init__(self.message)


class SecretMissing(NodeTypeError, KeyError):
    """A secret is neither in the environment nor in the directory of secrets."""

    def __init__(self, name: str, looked: Sequence[str]) -> None:
        super().__init__(f"there is no secret {name!r}; looked at {', '.join(looked)}")
        self.name = name
        self.looked = tuple(looked)

    def __str__(self) -> str:
        return str(self.args[0])


class SecretUnreadable(NodeTypeError):
    """A secret is there, but its file cannot be read as text."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the secret {name!r} cannot be read: {reason}")
        self.name = name
        self.reason = reason


def _text_of(value: object) -> str:
    if type(value) is str:
        return value
    try:
        # `str` may give an instance of a subclass, and `join` does not.
        return "".join(str(value))
    except Exception:
        return f"({type(value).__name__})"


def _mapping_of(value: object) -> dict[str, object] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):
        try:
            return {_text_of(key): item for key, item in value.items()}
        except Exception:
            return {"details": f"({type(value).__name__})"}
    return {"details": value}


def clip(text: str, limit: int = 120) -> str:
    """Shorten a text that goes into a message to `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
