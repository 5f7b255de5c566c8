"""How long the rest of a run takes: list scheduling simulated over expected durations; pure, times are milliseconds."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weftline_executor.graph.topology import Graph


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected: `duration` to the end, how many nodes run at once at the `peak`, and when each node `starts`.

    Those that had finished or started before start at 0.
    """

    duration: float
    peak: int
    starts: Sequence[float]


def tails(graph: Graph, durations: Sequence[float]) -> list[float]:
    """By node: how long the longest path from its start to the end of the run takes.

    That is an end of the graph and then, where there are any, the `finally` nodes.
    """
    found = [0.0] * len(graph)
    after = 0.0
    for final in (True, False) if graph.finals else (False,):
        for node in reversed(graph.order):
            if (node in graph.finals) is final:
                below = max((found[graph.targets[edge]] for edge in graph.outgoing[node]), default=0.0)
                found[node] = durations[node] + max(below, after)
        after = max((found[node] for node in graph.finals), default=0.0)
    return found


def simulate(
    graph: Graph,
    durations: Sequence[float],
    tail: Sequence[float],
    *,
    finished: Sequence[int],
    running: Mapping[int, float],
    slots: int,
) -> Forecast:
    """Plays the rest of a run through, the ready node with the longest tail first, `slots` at once.

    `finished` is true by node for those that need no time any more, `running` gives what is left of running ones. Every
    edge counts as one to wait for, so a branch that will be skipped is counted in. Graham's list scheduling.
    """
    wanted = _Wanted(graph, finished)
    ready = [
        (-tail[node], node)
        for node, missing in enumerate(wanted.missing)
        if not missing and not finished[node] and node not in running
    ]
    heapq.heapify(ready)
    ends = [(left, node) for node, left in running.items()]
    heapq.heapify(ends)
    clock, peak = 0.0, len(ends)
    starts = [0.0] * len(graph)
    while ready or ends:
        while ready and len(ends) < slots:
            node = heapq.heappop(ready)[1]
            starts[node] = clock
            heapq.heappush(ends, (clock + durations[node], node))
        peak = max(peak, len(ends))
        clock, node = heapq.heappop(ends)
        for target in wanted.ended(node):
            if not finished[target] and target not in running:
                heapq.heappush(ready, (-tail[target], target))
    return Forecast(clock, peak, starts)


class _Wanted:
    """How many nodes have to end before each can start; all others together count as one for a `finally` node."""

    def __init__(self, graph: Graph, finished: Sequence[int]) -> None:
        self._graph = graph
        self.missing = [sum(not finished[graph.sources[edge]] for edge in edges) for edges in graph.incoming]
        self._others = 0
        if graph.finals:
            self._others = sum(not finished[node] for node in range(len(graph)) if node not in graph.finals)
            for node in graph.finals:
                sources = (graph.sources[edge] for edge in graph.incoming[node])
                of_finals = sum(source in graph.finals and not finished[source] for source in sources)
                self.missing[node] = of_finals + bool(self._others)

    def ended(self, node: int) -> list[int]:
        """A node ended: gives those that can start now."""
        graph, missing = self._graph, self.missing
        targets = [graph.targets[edge] for edge in graph.outgoing[node]]
        if graph.finals and node not in graph.finals:
            targets = [target for target in targets if target not in graph.finals]
            self._others -= 1
            if not self._others:
                targets += graph.finals
        free = []
        for target in targets:
            missing[target] -= 1
            if not missing[target]:
                free.append(target)
        return free


def lower_bound(
    durations: Sequence[float],
    tail: Sequence[float],
    *,
    work: float,
    running: Mapping[int, float],
    waiting: Sequence[int],
    slots: int,
) -> float:
    """What the rest takes at least: the longest path that is left, or all `work` that is left over all slots.

    For graphs that are too large to be played through; `waiting` are ready nodes that have not started.
    """
    paths = [tail[node] - durations[node] + left for node, left in running.items()]
    paths += [tail[node] for node in waiting]
    return max(work / slots, max(paths, default=0.0))
