"""How long nodes take, from what was measured or declared, and how far a run is; pure, times are milliseconds."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from statistics import median

from weftline_executor.graph import Graph
from weftline_executor.graph.critical import longest_path
from weftline_executor.graph.forecast import lower_bound, simulate, tails

KEPT_DURATIONS = 20
MAX_KINDS = 10_000
MAX_REMAINING = float(1 << 53)
MAX_SIMULATED = 2_000
"""Graphs with more nodes are not played through, which would hold up other runs; a bound serves for them."""


class DurationHistory:
    """The newest durations of successful nodes, by kind (a type with its configuration) and by type."""

    def __init__(self) -> None:
        # By the hash of a kind, since a configuration can be large.
        self._durations: OrderedDict[int | str, deque[int]] = OrderedDict()

    def record(self, kind: tuple[str, bytes], duration: int) -> None:
        """Notes that a node of this kind took `duration` ms."""
        for entry in (hash(kind), kind[0]):
            durations = self._durations.get(entry)
            if durations is None:
                durations = self._durations[entry] = deque(maxlen=KEPT_DURATIONS)
                if len(self._durations) > MAX_KINDS:
                    self._durations.popitem(last=False)
            self._durations.move_to_end(entry)
            durations.append(duration)

    def of_kind(self, kind: tuple[str, bytes]) -> float | None:
        """The median of nodes that were configured alike."""
        return self._median(hash(kind))

    def of_type(self, node_type: str) -> float | None:
        """The median of nodes of the type."""
        return self._median(node_type)

    def _median(self, entry: int | str) -> float | None:
        durations = self._durations.get(entry)
        return max(1.0, median(durations)) if durations else None


def filled(expected: Sequence[float | None]) -> list[float]:
    """A duration for each node: what is known, at least 1 ms; elsewhere the average of that, or 1 ms without any."""
    known = [duration for duration in expected if duration is not None]
    average = sum(known) / len(known) if known else 1.0
    return [max(1.0, average if duration is None else duration) for duration in expected]


class RunEstimate:
    """How far a run is and how long the rest takes.

    `expected` holds what is known of each node's duration by its index, None where nothing is; such a node counts as
    much as the average of the others. With durations known for less than half of the nodes there is no estimate.
    `ahead` says by node how long the longest path from its start on takes.
    """

    def __init__(self, graph: Graph, expected: Sequence[float | None], slots: int) -> None:
        self._graph = graph
        self._durations = filled(expected)
        self.has_basis = 2 * sum(duration is not None for duration in expected) >= len(expected)
        self.ahead = tails(graph, self._durations)
        self._slots = slots
        self._total = sum(self._durations) or 1.0
        self._done = 0.0
        self._finished = bytearray(len(graph))
        self._shares: dict[int, tuple[float, int]] = {}

    def advance(self, node: int, progress: float, elapsed: int) -> None:
        """A running node is `progress` (0 to 1) far after `elapsed` ms."""
        if not self._finished[node]:
            self._shares[node] = (progress, elapsed)

    def restart(self, node: int) -> None:
        """What a running node had done is lost."""
        self._shares.pop(node, None)

    def reset(self, node: int) -> None:
        """A node that had finished will run again."""
        if self._finished[node]:
            self._finished[node] = 0
            self._done -= self._durations[node]

    def finish(self, node: int) -> None:
        """A node succeeded, failed or was skipped."""
        self._shares.pop(node, None)
        if not self._finished[node]:
            self._finished[node] = 1
            self._done += self._durations[node]

    @property
    def progress(self) -> float:
        """How far the run is, 0 to 1: nodes weighed by their durations."""
        partial = sum(share * self._durations[node] for node, (share, _) in self._shares.items())
        return min(1.0, max(0.0, (self._done + partial) / self._total))

    def remaining(self, running: Mapping[int, int], waiting: Sequence[int]) -> int | None:
        """Milliseconds to the end; None without a basis.

        `running` gives how long each running node has run, `waiting` are ready nodes that have not started.
        """
        if not self.has_basis:
            return None
        left = {node: self._left(node, elapsed) for node, elapsed in running.items()}
        if len(self._graph) <= MAX_SIMULATED:
            played = simulate(
                self._graph, self._durations, self.ahead, finished=self._finished, running=left, slots=self._slots
            )
            return _whole(played.duration)
        work = self._total - self._done - sum(self._durations[node] - rest for node, rest in left.items())
        bound = lower_bound(self._durations, self.ahead, work=work, running=left, waiting=waiting, slots=self._slots)
        return _whole(bound)

    def path_ahead(self, running: Mapping[int, int], later: Mapping[int, float]) -> list[tuple[int, float, float]]:
        """The longest path through what has not finished: its nodes with when each starts and ends, in ms from now.

        `running` gives how long each running node has run, `later` in how many ms a node that waits for a time starts.
        The limits on nodes at once are left out. Takes time proportional to the graph.
        """
        heads = {node: self._left(node, elapsed) for node, elapsed in running.items()}
        sources, incoming, finished = self._graph.sources, self._graph.incoming, self._finished
        for node, done in enumerate(finished):
            if not done and node not in heads and all(finished[sources[edge]] for edge in incoming[node]):
                heads[node] = later.get(node, 0.0) + self._durations[node]
        if not heads:
            return []
        first = max(heads, key=lambda node: heads[node] + self.ahead[node] - self._durations[node])
        at = heads[first]
        path = [(first, -float(running[first]) if first in running else later.get(first, 0.0), at)]
        for node in longest_path(self._graph, self.ahead, first)[1:]:
            path.append((node, at, at + self._durations[node]))
            at += self._durations[node]
        return path

    def _left(self, node: int, elapsed: int) -> float:
        share, at = self._shares.get(node, (0.0, 0))
        if share:
            return max(0.0, at / share - elapsed)
        # A node that is late says nothing about when it ends; as long again as it is late is as good as any guess.
        return abs(self._durations[node] - elapsed)


def _whole(milliseconds: float) -> int | None:
    """A time as whole milliseconds; None for one that nobody can mean."""
    return round(milliseconds) if milliseconds <= MAX_REMAINING else None
