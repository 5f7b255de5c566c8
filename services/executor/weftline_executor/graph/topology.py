"""A valid workflow graph with its nodes numbered, so that walking it takes array look-ups only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from weftline_executor.graph.definition import EdgeDef, NodeDef, RunConfig


class Graph:
    """Nodes and edges by index, in the order of the definition.

    `outgoing[i]` and `incoming[i]` list edge indices; `sources[e]` and `targets[e]` are node indices; `order` is a
    topological order; `finals` are the nodes that run when all others have ended; those that are `early` may be decided
    before all their edges have arrived.
    """

    __slots__ = (
        "__weakref__",
        "config",
        "early",
        "edges",
        "finals",
        "incoming",
        "index",
        "nodes",
        "order",
        "outgoing",
        "sources",
        "targets",
    )

    def __init__(self, nodes: Sequence[NodeDef], edges: Sequence[EdgeDef], config: RunConfig) -> None:
        self.nodes = tuple(nodes)
        self.edges = tuple(edges)
        self.config = config
        self.index = dict(zip((node.id for node in self.nodes), _numbers(self.nodes), strict=True))
        self.finals = frozenset(index for index, node in enumerate(self.nodes) if node.policy.final)
        self.early = frozenset(index for index, node in enumerate(self.nodes) if node.join.early)
        self.sources = [self.index[edge.source] for edge in self.edges]
        self.targets = [self.index[edge.target] for edge in self.edges]
        numbers = _numbers(self.edges)
        self.outgoing = _by_end(numbers, self.sources, len(self.nodes))
        self.incoming = _by_end(numbers, self.targets, len(self.nodes))
        self.order = self._topological_order()

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def acyclic(self) -> bool:
        """Whether every node has a place in the topological order."""
        return len(self.order) == len(self.nodes)

    def _topological_order(self) -> list[int]:
        """Kahn's algorithm; nodes on or behind a cycle are missing from the result."""
        missing = [len(edges) for edges in self.incoming]
        order = [node for node, count in enumerate(missing) if not count]
        for node in order:
            for edge in self.outgoing[node]:
                target = self.targets[edge]
                missing[target] -= 1
                if not missing[target]:
                    order.append(target)
        return order

    def find_cycle(self) -> list[int]:
        """The nodes of one cycle, in the direction of its edges; empty when there is none."""
        stuck = set(range(len(self.nodes))).difference(self.order)
        if not stuck:
            return []
        # Every stuck node has a stuck parent, so walking up must come back to a node seen before.
        seen: dict[int, int] = {}
        walk: list[int] = []
        node = min(stuck)
        while node not in seen:
            seen[node] = len(walk)
            walk.append(node)
            node = next(source for edge in self.incoming[node] if (source := self.sources[edge]) in stuck)
        return walk[seen[node] :][::-1]

    def descendants(self, node: int) -> set[int]:
        """All nodes that can be reached from `node`, without it."""
        found: set[int] = set()
        stack = [node]
        while stack:
            for edge in self.outgoing[stack.pop()]:
                target = self.targets[edge]
                if target not in found:
                    found.add(target)
                    stack.append(target)
        return found


def _numbers(items: Sequence[NodeDef | EdgeDef]) -> list[int]:
    """The index of each item: mostly that is its place in the definition, and then the same object serves for both."""
    return [item.at if item.at == number else number for number, item in enumerate(items)]


def _by_end(edges: Sequence[int], ends: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """By node, of `count`: the edges whose end it is; tuples, since most have few, and a list keeps room for more."""
    found: list[tuple[int, ...]] = [()] * count
    for node, group in groupby(sorted(edges, key=ends.__getitem__), ends.__getitem__):
        found[node] = tuple(group)
    return found
