"""Which nodes decide how long a run takes: those it waited for, and those it will wait for; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from weftline_executor.graph.topology import Graph

Span = tuple[float, float]
"""When a node started and ended, in ms."""

_EARLY = frozenset({"one_success", "one_failed", "n_of", "always"})
"""Rules of joins by which a node may start before all nodes that lead to it have ended."""

_ROUNDING = 2.0
"""By how much the times of two events may disagree, in ms."""


def longest_path(graph: Graph, tail: Sequence[float], first: int) -> list[int]:
    """The nodes of the longest path from `first` to the end of the run; `tail` is what `forecast.tails` gives."""
    path = [first]
    while True:
        node = path[-1]
        targets = [graph.targets[edge] for edge in graph.outgoing[node]]
        if node not in graph.finals:
            targets = [target for target in targets if target not in graph.finals] or sorted(graph.finals)
        if not targets:
            return path
        path.append(max(targets, key=tail.__getitem__))


def measured_path(graph: Graph, spans: Mapping[int, Span], last: int) -> list[int]:
    """The chain of nodes that `last` waited for, in order, itself included: before each the one that ended last.

    `spans` holds the nodes that ran. One that did not, because it was skipped, is passed through to those that it
    waited for, and is not in the path. A join that starts early waited for none that ended later.
    """
    walk = _Walk(graph, spans)
    path, node = [last], last
    while (before := walk.before(node)) is not None:
        path.append(before)
        node = before
    return path[::-1]


class _Walk:
    """Finds what a node waited for; remembers it of nodes that did not run, so that a walk visits each edge once."""

    def __init__(self, graph: Graph, spans: Mapping[int, Span]) -> None:
        self._graph = graph
        self._spans = spans
        self._through: dict[int, int | None] = {}
        self._others = [node for node in range(len(graph)) if node not in graph.finals] if graph.finals else []

    def before(self, node: int) -> int | None:
        """The node that ended last of those that ran and lead to `node`; None when there is none."""
        self._resolve(self._sources(node))
        latest = math.inf
        if self._graph.nodes[node].join.rule in _EARLY and node in self._spans:
            latest = self._spans[node][0] + _ROUNDING
        return self._last_of(self._sources(node), latest)

    def _sources(self, node: int) -> Iterable[int]:
        sources = [self._graph.sources[edge] for edge in self._graph.incoming[node]]
        if node not in self._graph.finals:
            return sources
        # It waited for all that are not its like, and then for those of its like that lead to it.
        return [source for source in sources if source in self._graph.finals] or self._others

    def _resolve(self, nodes: Iterable[int]) -> None:
        """Finds for nodes that did not run which one that did they stand for."""
        # A stack instead of recursion, because a chain of skips can be long.
        stack = [node for node in nodes if node not in self._spans and node not in self._through]
        while stack:
            node = stack[-1]
            open_sources = [
                source for source in self._sources(node) if source not in self._spans and source not in self._through
            ]
            if open_sources:
                stack += open_sources
                continue
            stack.pop()
            self._through[node] = self._last_of(self._sources(node), math.inf)

    def _last_of(self, nodes: Iterable[int], latest: float) -> int | None:
        found: int | None = None
        for node in nodes:
            ran = node if node in self._spans else self._through.get(node)
            if ran is None or self._spans[ran][1] > latest:
                continue
            if found is None or self._spans[ran][1] > self._spans[found][1]:
                found = ran
        return found
