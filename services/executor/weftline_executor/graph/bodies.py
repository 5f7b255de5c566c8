"""Nodes that have a body: which nodes and edges of a canvas are inside of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from weftline_executor.graph.canvas import CanvasEdge, Placed

BODY_TYPES = frozenset({"map", "workflow"})
"""Node types whose nodes run others as their body."""

BODY_KEY = "workflow"
"""The key of such a node's `data` that may hold the body, instead of nodes that are drawn inside it."""

MAX_BODY_DEPTH = 8
"""How many bodies may be inside one another."""


@dataclass(slots=True)
class Body:
    """The nodes and edges inside a node, by their places in the definition."""

    nodes: list[int] = field(default_factory=list)
    edges: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Split:
    """What is `inside` of which node, and the edges that lead into a body or out of it.

    `bodies` are by the id of their node, and hold what is inside of bodies in them, too. `inside` and `crossing` hold
    places in the definition.
    """

    bodies: dict[str, Body] = field(default_factory=dict)
    inside: set[int] = field(default_factory=set)
    inside_edges: set[int] = field(default_factory=set)
    crossing: set[int] = field(default_factory=set)


def split(raw_nodes: Sequence[object], raw_edges: Sequence[object]) -> Split:
    """Finds the outermost bodies: a node is inside of the node with a body that its `parentId` names, if one does."""
    found = Split()
    parents: dict[str, str] = {}
    for raw in raw_nodes:
        if isinstance(raw, Placed) and isinstance(raw.id, str):
            if isinstance(raw.type, str) and raw.type in BODY_TYPES:
                found.bodies.setdefault(raw.id, Body())
            if isinstance(raw.parent, str):
                parents[raw.id] = raw.parent
    if not found.bodies or not parents:
        return found
    owner = {node_id: body for node_id in parents if (body := _outermost(node_id, parents, found.bodies)) is not None}
    for at, raw in enumerate(raw_nodes):
        if isinstance(raw, Placed) and isinstance(raw.id, str) and raw.id in owner:
            found.inside.add(at)
            found.bodies[owner[raw.id]].nodes.append(at)
    for at, raw in enumerate(raw_edges):
        if not isinstance(raw, CanvasEdge):
            continue
        ends = [owner.get(end) if isinstance(end, str) else None for end in (raw.source, raw.target)]
        if ends[0] != ends[1]:
            found.crossing.add(at)
        elif ends[0] is not None:
            found.inside_edges.add(at)
            found.bodies[ends[0]].edges.append(at)
    return found


def _outermost(node_id: str, parents: dict[str, str], bodies: dict[str, Body]) -> str | None:
    """The outermost node with a body that a node is in; None when it is in none, or in itself."""
    found = None
    seen = {node_id}
    while (parent := parents.get(node_id)) is not None and parent not in seen:
        seen.add(parent)
        node_id = parent
        if parent in bodies:
            found = parent
    return found
