"""The graphs that every engine runs, all of nodes that do nothing; uses only the standard library."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass

LAYER = 10
PARENTS = 3


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which they may run, and edges from node to node; each runs a body for so many `items`."""

    nodes: list[str]
    edges: list[tuple[str, str]]
    items: int = 0

    def parents(self) -> dict[str, list[str]]:
        """The parents of every node."""
        found: dict[str, list[str]] = {node: [] for node in self.nodes}
        for source, target in self.edges:
            found[target].append(source)
        return found

    def children(self) -> dict[str, list[str]]:
        """The children of every node."""
        found: dict[str, list[str]] = {node: [] for node in self.nodes}
        for source, target in self.edges:
            found[source].append(target)
        return found


def chain(count: int) -> Graph:
    """`count` nodes, each after the one before."""
    nodes = [f"n{number}" for number in range(count)]
    return Graph(nodes, list(itertools.pairwise(nodes)))


def fan_out(count: int) -> Graph:
    """One node, then `count` at once, then one after them all."""
    middle = [f"n{number}" for number in range(count)]
    edges = [("first", node) for node in middle] + [(node, "last") for node in middle]
    return Graph(["first", *middle, "last"], edges)


def layered(count: int) -> Graph:
    """Layers of 10, each node with three parents in the layer before."""
    nodes = [f"n{number}" for number in range(count)]
    edges = [
        (nodes[(number // LAYER - 1) * LAYER + (number + step) % LAYER], nodes[number])
        for number in range(LAYER, count)
        for step in range(PARENTS)
    ]
    return Graph(nodes, edges)


def map_over(count: int) -> Graph:
    """One node that runs a body of one node for each of `count` items; other engines are not asked to."""
    return Graph(["each"], [], count)


def definition(graph: Graph) -> str:
    """The graph as a workflow of Weftline."""
    if graph.items:
        items = {"items": list(range(graph.items))}
        nodes = [{"id": node, "type": "map", "data": items} for node in graph.nodes]
        nodes += [{"id": f"{node}-body", "type": "noop", "data": {}, "parentId": node} for node in graph.nodes]
    else:
        nodes = [{"id": node, "type": "noop", "data": {}} for node in graph.nodes]
    edges = [{"source": source, "target": target} for source, target in graph.edges]
    return json.dumps({"nodes": nodes, "edges": edges, "config": {}})


@dataclass(frozen=True, slots=True)
class Work:
    """`runs` runs at once of the graph that `shape` gives for `size`."""

    shape: str
    size: int
    runs: int = 1

    def graph(self) -> Graph:
        """The graph of one run."""
        return SHAPES[self.shape](self.size)

    def __str__(self) -> str:
        graph = f"{self.shape} of {self.size:,}"
        return graph if self.runs == 1 else f"{self.runs:,} x {graph}"


SHAPES: dict[str, Callable[[int], Graph]] = {"chain": chain, "fan-out": fan_out, "layered": layered, "map": map_over}
