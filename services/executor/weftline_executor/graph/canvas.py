"""A definition as its JSON text has it: what a React Flow canvas holds, read as far as a run needs it.

What only a canvas needs of a node (its position, its size) is passed over: in a large graph that is most of it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec


class Placed(msgspec.Struct):
    """A node as far as it takes to tell what it is inside of; nothing is checked yet."""

    id: Any = None
    type: Any = None
    parent: Any = msgspec.field(default=None, name="parentId")


class CanvasNode(Placed):
    """A node with its configuration."""

    data: Any = None


class CanvasEdge(msgspec.Struct):
    """An edge; nothing is checked yet."""

    id: Any = None
    source: Any = None
    target: Any = None
    source_handle: Any = msgspec.field(default=None, name="sourceHandle")
    target_handle: Any = msgspec.field(default=None, name="targetHandle")


_Scalar: TypeAlias = str | int | float | bool | None
NodeItem: TypeAlias = CanvasNode | list[Any] | _Scalar
"""What may stand in `nodes`, if only to be refused."""

EdgeItem: TypeAlias = CanvasEdge | list[Any] | _Scalar


class Canvas(msgspec.Struct):
    """The parts of a definition; `nodes` and `edges` are lists, or something that is to be refused."""

    nodes: list[NodeItem] | dict[str, Any] | _Scalar = msgspec.field(default_factory=list)
    edges: list[EdgeItem] | dict[str, Any] | _Scalar = msgspec.field(default_factory=list)
    config: Any = None


class PlacedNodes(msgspec.Struct):
    """The nodes of a definition that is valid."""

    nodes: list[Placed] = []


_decoder = msgspec.json.Decoder(Canvas | list[Any] | _Scalar)


def read_canvas(definition: bytes | str) -> Canvas | None:
    """The parts of a definition; None when its JSON is no object. Raises what msgspec does where it is no JSON."""
    found = _decoder.decode(definition)
    return found if isinstance(found, Canvas) else None
