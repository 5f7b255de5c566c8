"""Node types and definitions that the tests of graphs share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weftline_executor.errors import Fault, InvalidWorkflow
from weftline_executor.graph import Graph, Limits, compile_graph
from weftline_executor.graph.definition import EdgeDef, NodeDef, RunConfig
from weftline_executor.graph.joins import DEFAULT_JOIN, Join

USUAL_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Said:
    """A fault, or a reference, that a node type names."""

    path: str
    code: str = ""
    message: str = ""
    node_id: str = ""
    handle: str = ""


@dataclass(frozen=True, slots=True)
class TypeRules:
    """A node type with the given handles.

    `data.faults` are its faults, `data.names` and `data.reads` the nodes and the inputs that its expressions name.
    """

    outputs: tuple[str, ...] = ("output",)

    def handles(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """See NodeTypeRules."""
        return self.outputs

    def check(self, data: Mapping[str, Any]) -> Sequence[Said]:
        """See NodeTypeRules."""
        return [Said(path, "invalid_value", f"{path} is wrong") for path in data.get("faults", [])]

    def references(self, data: Mapping[str, Any]) -> Sequence[Said]:
        """See NodeTypeRules."""
        nodes = [Said("value", node_id=name) for name in data.get("names", [])]
        return nodes + [Said("value", handle=name) for name in data.get("reads", [])]


@dataclass(slots=True)
class Types:
    """The types `task` and `branch`; counts how often a suggestion was asked for."""

    suggested: int = 0
    known: dict[str, TypeRules] = field(
        default_factory=lambda: {"task": TypeRules(), "branch": TypeRules(("left", "right"))}
    )

    def get(self, name: str) -> TypeRules | None:
        """See NodeTypes."""
        return self.known.get(name)

    def nearest(self, name: str) -> str | None:
        """See NodeTypes."""
        self.suggested += 1
        return "task" if name.startswith("tas") else None

    def why_off(self, name: str) -> str | None:
        """See NodeTypes."""
        return "the node type 'forbidden' is off" if name == "forbidden" else None


def task(node_id: str, node_type: str = "task", **data: Any) -> dict[str, Any]:
    """A node of a canvas."""
    return {"id": node_id, "type": node_type, "data": data}


def link(source: object, target: object, **more: Any) -> dict[str, Any]:
    """An edge of a canvas."""
    return {"source": source, "target": target, **more}


def compiled(definition: object, limits: Limits = USUAL_LIMITS) -> Graph:
    """The graph of a definition, which is text, bytes or what JSON can say."""
    text = definition if isinstance(definition, str | bytes) else json.dumps(definition)
    return compile_graph(text, Types(), limits)


def faults(definition: object, limits: Limits = USUAL_LIMITS) -> list[Fault]:
    """What is wrong with a definition."""
    try:
        compiled(definition, limits)
    except InvalidWorkflow as error:
        return list(error.faults)
    return []


def codes(definition: object, limits: Limits = USUAL_LIMITS) -> list[tuple[str, str]]:
    """Where and what is wrong with a definition."""
    return [(fault.path, fault.code) for fault in faults(definition, limits)]


def graph_of(
    size: int,
    edges: Sequence[tuple[int, int]],
    joins: Mapping[int, Join] | None = None,
    handles: Mapping[int, str] | None = None,
    types: Mapping[int, str] | None = None,
) -> Graph:
    """A graph whose nodes are called by their index; `handles` gives the source handle of an edge by its number."""
    joins, handles, types = joins or {}, handles or {}, types or {}
    nodes = [NodeDef(str(at), types.get(at, "task"), {}, at, joins.get(at, DEFAULT_JOIN)) for at in range(size)]
    links = [
        EdgeDef(str(source), str(target), handles.get(at, ""), "input", at) for at, (source, target) in enumerate(edges)
    ]
    return Graph(nodes, links, RunConfig())
