"""Finds all that is wrong with a workflow definition at once, and compiles it when nothing is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from weftline_executor.errors import Fault, InvalidWorkflow
from weftline_executor.graph.bodies import BODY_KEY, BODY_TYPES, MAX_BODY_DEPTH, Body, Split, split
from weftline_executor.graph.canvas import Canvas, CanvasEdge, CanvasNode, EdgeItem, NodeItem, read_canvas
from weftline_executor.graph.definition import (
    DECORATION,
    Configured,
    EdgeDef,
    NodeDef,
    RunConfig,
    read_config,
    read_edge,
    read_node,
)
from weftline_executor.graph.frontier import ERROR_HANDLE
from weftline_executor.graph.policy import OnError
from weftline_executor.graph.rules import ConfigProblem, NodeReference, NodeTypeRules, NodeTypes
from weftline_executor.graph.topology import Graph

MAX_FAULTS = 1000
"""How many faults are reported at most; a last one says how many were left out."""

MAX_CYCLES = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a definition may be; `max_reference_steps` bounds the search for ancestors that expressions name."""

    max_nodes: int = 100_000
    max_edges: int = 500_000
    max_bytes: int = 16 << 20
    max_reference_steps: int = 20_000_000


def compile_graph(definition: bytes | str, types: NodeTypes, limits: Limits) -> Graph:
    """Gives the graph of a definition (JSON text: an object with `nodes`, `edges`, `config`).

    Raises InvalidWorkflow with every fault, MAX_FAULTS at most: those of the whole, then of the nodes and of the edges
    in their order, then of `config`.
    """
    faults: list[Fault] = []
    graph = _Compilation(types, limits, faults).run(definition)
    if faults:
        faults.sort(key=_place)
        if len(faults) > MAX_FAULTS:
            left_out = len(faults) - MAX_FAULTS
            faults[MAX_FAULTS:] = [Fault("", "too_many_faults", f"{left_out} more faults are not listed")]
        raise InvalidWorkflow(faults)
    if graph is None:
        raise AssertionError("a definition without a graph has faults")
    return graph


def _outside(path: str, at: int, drawn: Body) -> str:
    """The path in the whole definition of a place in a body that is drawn inside the node `at`."""
    found = _PLACE.match(path)
    part, item = found.groups() if found else ("", None)
    if item is None or part not in ("nodes", "edges"):
        return f"nodes[{at}]"
    places = drawn.nodes if part == "nodes" else drawn.edges
    return f"{part}[{places[int(item)]}]{path[found.end() :] if found else ''}"


_PARTS = {"": 0, "nodes": 1, "edges": 2, "config": 3}
_PLACE = re.compile(r"(nodes|edges|config|)(?:\[(\d+)\])?")


def _place(fault: Fault) -> tuple[int, int]:
    """Where in a definition a fault is: which part of it, and which item of that part."""
    found = _PLACE.match(fault.path)
    part, item = found.groups() if found else ("", None)
    return _PARTS[part], -1 if item is None else int(item)


@dataclass(frozen=True, slots=True)
class _Use:
    """An expression at `path` in the data of `node`, which stands at `position` in the graph."""

    position: int
    node: NodeDef
    path: str


class _Compilation:
    """One walk from text to graph that gathers faults on its way."""

    def __init__(self, types: NodeTypes, limits: Limits, faults: list[Fault], depth: int = 0) -> None:
        self._types = types
        self._limits = limits
        self._faults = faults
        self._depth = depth
        self._split = Split()
        self._dangling = False
        self._duplicates: list[NodeDef] = []

    def run(self, definition: bytes | str) -> Graph | None:
        parts = self._read(definition)
        if parts is None:
            return None
        graph = Graph(*parts)
        self._check_cycles(graph)
        self._check_joins(graph)
        self._check_finals(graph)
        self._check_types(graph)
        return graph

    def _read(self, definition: bytes | str) -> tuple[list[NodeDef], list[EdgeDef], RunConfig] | None:
        canvas = self._decode(definition)
        if canvas is None:
            return None
        raw_nodes, raw_edges = canvas.nodes, canvas.edges
        if not isinstance(raw_nodes, list) or not isinstance(raw_edges, list):
            key = "edges" if isinstance(raw_nodes, list) else "nodes"
            self._fault(key, "wrong_type", f"{key} is an array")
            return None
        config = read_config(canvas.config, self._faults)
        over = [
            self._too_many("nodes", raw_nodes, self._limits.max_nodes),
            self._too_many("edges", raw_edges, self._limits.max_edges),
        ]
        if any(over):
            return None
        self._split = split(raw_nodes, raw_edges)
        nodes, decoration = self._read_nodes(raw_nodes)
        if any(node.type in BODY_TYPES for node in nodes):
            # A body keeps all that a canvas holds of it, since whoever watches it draws it.
            whole = msgspec.json.decode(definition)
            nodes = [self._with_body(node, whole) if node.type in BODY_TYPES else node for node in nodes]
        # In a large graph what was read is as much as what it is read into.
        raw_nodes.clear()
        edges = self._read_edges(raw_edges, {node.id: node for node in nodes}, decoration)
        raw_edges.clear()
        if not nodes:
            self._fault("nodes", "empty", "a workflow needs at least one node that runs")
            return None
        return nodes, edges, config

    def _fault(self, path: str, code: str, message: str, node_id: str = "") -> None:
        self._faults.append(Fault(path, code, message, node_id))

    def _decode(self, definition: bytes | str) -> Canvas | None:
        if len(definition) > self._limits.max_bytes:
            self._fault("", "too_large", f"the definition is larger than {self._limits.max_bytes} bytes")
            return None
        try:
            canvas = read_canvas(definition)
        except RecursionError:
            self._fault("", "too_deep", "the definition nests too deep")
            return None
        except (msgspec.DecodeError, UnicodeError) as error:
            self._fault("", "invalid_json", f"the definition is not JSON: {error}")
            return None
        if canvas is None:
            self._fault("", "wrong_type", "the definition is a JSON object with nodes, edges and config")
        return canvas

    def _too_many(self, key: str, items: list[Any], limit: int) -> bool:
        if len(items) <= limit:
            return False
        self._fault(key, "too_many", f"{len(items)} {key} are more than the limit of {limit}")
        return True

    def _read_nodes(self, raw_nodes: list[NodeItem]) -> tuple[list[NodeDef], set[str]]:
        nodes: list[NodeDef] = []
        decoration: set[str] = set()
        seen: dict[str, int] = {}
        alike: dict[tuple[str, bytes], Configured] = {}
        for at, raw in enumerate(raw_nodes):
            if at in self._split.inside:
                continue
            node = None
            if isinstance(raw, CanvasNode) and isinstance(raw.type, str) and raw.type in DECORATION:
                node_id = raw.id
            else:
                node = read_node(raw, at, alike, self._faults)
                node_id = node.id if node else None
            if not isinstance(node_id, str):
                continue
            if node_id in seen:
                first = seen[node_id]
                self._fault(f"nodes[{at}].id", "duplicate_id", f"nodes[{first}] has the id {node_id!r} too", node_id)
                self._duplicates += [node] if node else []
                continue
            seen[node_id] = at
            if node:
                nodes.append(node)
            else:
                decoration.add(node_id)
        return nodes, decoration

    def _with_body(self, node: NodeDef, whole: Mapping[str, Any]) -> NodeDef:
        """The node with its body: what is drawn inside it in the `whole` definition, or what its data holds."""
        drawn = self._split.bodies.get(node.id, Body())
        written = node.data.get(BODY_KEY)
        path = f"nodes[{node.at}]"
        if drawn.nodes:
            raw: dict[str, Any] = {
                "nodes": [whole["nodes"][at] for at in drawn.nodes],
                "edges": [whole["edges"][at] for at in drawn.edges],
            }
        elif isinstance(written, dict):
            raw = written
        else:
            message = f"a {node.type} runs the nodes inside it; draw some, with {node.id!r} as their parentId"
            self._fault(path, "missing_body", message, node.id)
            return node
        if drawn.nodes and written is not None:
            self._fault(f"{path}.data.{BODY_KEY}", "two_bodies", "the node has a body inside it already", node.id)
        body = msgspec.json.encode(raw)
        self._check_body(node, body, drawn)
        data = {key: value for key, value in node.data.items() if key != BODY_KEY}
        return msgspec.structs.replace(node, data=data, body=body, kind=(node.type, msgspec.json.encode(data) + body))

    def _check_body(self, node: NodeDef, body: bytes, drawn: Body) -> None:
        if self._depth >= MAX_BODY_DEPTH:
            message = f"bodies are inside one another more than {MAX_BODY_DEPTH} deep"
            self._fault(f"nodes[{node.at}]", "too_deep", message, node.id)
            return
        faults: list[Fault] = []
        _Compilation(self._types, self._limits, faults, self._depth + 1).run(body)
        for fault in faults:
            path = f"nodes[{node.at}].data.{BODY_KEY}.{fault.path}".removesuffix(".")
            if drawn.nodes:
                path = _outside(fault.path, node.at, drawn)
            self._faults.append(replace(fault, path=path))

    def _read_edges(self, raw_edges: list[EdgeItem], nodes: dict[str, NodeDef], decoration: set[str]) -> list[EdgeDef]:
        edges: list[EdgeDef] = []
        ids: dict[str, int] = {}
        known = {node_id: node_id for node_id in nodes}
        for at, raw in enumerate(raw_edges):
            if at in self._split.crossing:
                message = "an edge leads into a body or out of it; lead it to the node that has the body, or from that"
                self._fault(f"edges[{at}]", "crosses_body", message)
            if at in self._split.crossing or at in self._split.inside_edges:
                continue
            edge = read_edge(raw, at, known, self._faults)
            if edge is None:
                continue
            decorates = edge.source in decoration or edge.target in decoration
            edge_id = raw.id if isinstance(raw, CanvasEdge) else None
            if not decorates and isinstance(edge_id, str) and edge_id and ids.setdefault(edge_id, at) != at:
                self._fault(f"edges[{at}].id", "duplicate_id", f"edges[{ids[edge_id]}] has the id {edge_id!r} too")
            dangling = False
            for key, end in (("source", edge.source), ("target", edge.target)):
                if end not in nodes and end not in decoration:
                    self._fault(f"edges[{at}].{key}", "dangling_edge", f"there is no node with the id {end!r}")
                    dangling = self._dangling = True
            if not dangling and not decorates:
                edges.append(edge)
        return edges

    def _check_cycles(self, graph: Graph) -> None:
        nodes, edges = graph.nodes, graph.edges
        for _ in range(MAX_CYCLES):
            cycle = graph.find_cycle()
            if not cycle:
                return
            ids = [graph.nodes[node].id for node in cycle]
            first = graph.nodes[cycle[0]]
            path = " → ".join([*ids[:20], "…"] if len(ids) > 20 else [*ids, ids[0]])
            self._fault(f"nodes[{first.at}]", "cycle", f"these nodes wait for one another: {path}", first.id)
            gone = set(ids)
            nodes = tuple(node for node in nodes if node.id not in gone)
            edges = tuple(edge for edge in edges if edge.source not in gone and edge.target not in gone)
            graph = Graph(nodes, edges, graph.config)

    def _check_joins(self, graph: Graph) -> None:
        if self._dangling:
            return  # the edge that is wrong may be the one that is missing
        for node, incoming in zip(graph.nodes, graph.incoming, strict=True):
            if not node.join.count:
                continue
            edges = sum(not node.policy.final or graph.nodes[graph.sources[edge]].policy.final for edge in incoming)
            if node.join.count > edges:
                message = f"n_of is {node.join.count}, but the number of edges to this node is {edges}"
                self._fault(f"nodes[{node.at}].data.policy.join", "invalid_value", message, node.id)

    def _check_finals(self, graph: Graph) -> None:
        for edge, source, target in zip(graph.edges, graph.sources, graph.targets, strict=True):
            if graph.nodes[source].policy.final and not graph.nodes[target].policy.final:
                message = (
                    f"node {edge.source!r} runs when all others have ended, so {edge.target!r} can't wait for it; "
                    "make that a finally node too"
                )
                self._fault(f"edges[{edge.at}]", "finally_leads_on", message, edge.source)

    def _check_types(self, graph: Graph) -> None:
        # Large graphs are mostly of nodes that are configured alike.
        checked: dict[tuple[str, bytes], Sequence[ConfigProblem]] = {}
        referenced: dict[tuple[str, bytes], Sequence[NodeReference]] = {}
        references: dict[str, list[_Use]] = defaultdict(list)
        for node in (*graph.nodes, *self._duplicates):
            node_type = self._type_of(node)
            if node_type is None:
                continue
            problems = checked.get(node.kind)
            if problems is None:
                problems = checked[node.kind] = node_type.check(node.data)
            for problem in problems:
                path = f"nodes[{node.at}].data.{problem.path}".removesuffix(".")
                self._fault(path, problem.code, problem.message, node.id)
            position = graph.index.get(node.id)
            if position is None:
                continue
            # Edges to and from an id are those of the first node that has it.
            if graph.nodes[position] is node:
                self._check_handles(graph, position, node_type)
            if node.kind not in referenced:
                referenced[node.kind] = node_type.references(node.data)
            for reference in referenced[node.kind]:
                if reference.handle:
                    self._check_input(graph, position, node, reference)
                else:
                    references[reference.node_id].append(_Use(position, node, reference.path))
        if graph.acyclic:
            self._check_references(graph, references)

    def _check_input(self, graph: Graph, position: int, node: NodeDef, reference: NodeReference) -> None:
        led_to = {graph.edges[edge].target_handle for edge in graph.incoming[position]}
        if not self._dangling and graph.nodes[position] is node and reference.handle not in led_to:
            message = f"the expression reads the input {reference.handle!r}, to which no edge leads"
            self._fault(f"nodes[{node.at}].data.{reference.path}", "unknown_handle", message, node.id)

    def _type_of(self, node: NodeDef) -> NodeTypeRules | None:
        if not node.type:
            return None
        node_type = self._types.get(node.type)
        if node_type is None and (why := self._types.why_off(node.type)) is not None:
            self._fault(f"nodes[{node.at}].type", "node_type_disabled", why, node.id)
        elif node_type is None:
            # A suggestion takes a search, and no more faults than that are shown.
            nearest = self._types.nearest(node.type) if len(self._faults) < MAX_FAULTS else None
            hint = f"; did you mean {nearest!r}?" if nearest else ""
            message = f"there is no node type {node.type!r}{hint}"
            self._fault(f"nodes[{node.at}].type", "unknown_node_type", message, node.id)
        return node_type

    def _check_handles(self, graph: Graph, position: int, node_type: NodeTypeRules) -> None:
        node = graph.nodes[position]
        handled = [graph.edges[number] for number in graph.outgoing[position] if graph.edges[number].source_handle]
        handles = node_type.handles(node.data) if handled else ()
        if node.policy.on_error is OnError.FAIL_BRANCH:
            handles = (*handles, ERROR_HANDLE)
        for edge in handled:
            if edge.source_handle not in handles:
                self._fault(
                    f"edges[{edge.at}].sourceHandle",
                    "undeclared_handle",
                    f"node {node.id!r} has no output handle {edge.source_handle!r}; it has {', '.join(handles)}",
                    node.id,
                )

    @staticmethod
    def _has_ended(graph: Graph, source: int | None, node: NodeDef) -> bool:
        """Whether a node has ended before another starts though no edges lead there: only `finally` nodes come last."""
        return source is not None and node.policy.final and not graph.nodes[source].policy.final

    def _check_references(self, graph: Graph, references: Mapping[str, list[_Use]]) -> None:
        steps = 0
        for node_id, uses in references.items():
            if steps > self._limits.max_reference_steps:
                self._fault(
                    "", "too_complex", "expressions name too many nodes that are far upstream to check them all"
                )
                return
            source = graph.index.get(node_id)
            # A parent needs no search, and nearly all references are to a parent.
            children = set() if source is None else {graph.targets[edge] for edge in graph.outgoing[source]}
            far = [use for use in uses if use.position not in children]
            reachable = children
            if far and source is not None:
                reachable = graph.descendants(source)
                steps += 1 + sum(len(graph.outgoing[node]) for node in reachable)
            for use in far:
                if use.position in reachable or self._has_ended(graph, source, use.node):
                    continue
                node = use.node
                code = "unknown_reference" if source is None else "not_an_ancestor"
                why = "there is no such node" if source is None else "it is not upstream of this node"
                self._fault(
                    f"nodes[{node.at}].data.{use.path}", code, f"the expression names {node_id!r}, but {why}", node.id
                )
