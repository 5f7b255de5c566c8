"""What validation says about a node's configuration: faults, references to other nodes, and paths to both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FaultCode = Literal[
    "missing_field",
    "wrong_type",
    "invalid_value",
    "unknown_key",
    "bad_expression",
    "bad_declaration",
    "body_in_process",
]

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One thing that is wrong with a node's configuration.

    `path` is relative to the node's `data`, for example `cases[0].handle`; `message` is one sentence for a person.
    """

    path: str
    code: FaultCode
    message: str


@dataclass(frozen=True, slots=True)
class Reference:
    """An expression at `path` in a node's `data` reads the node `node_id`, or else the input `handle`."""

    path: str
    node_id: str
    handle: str = ""


def path_text(path: Sequence[str | int]) -> str:
    """Write a path as a person would: `cases[0].handle`, `values["my key"]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text
