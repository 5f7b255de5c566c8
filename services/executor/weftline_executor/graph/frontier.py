"""Which nodes may run next: edge states, joins and skips, in time proportional to the graph over a whole run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from weftline_executor.graph.joins import Verdict
from weftline_executor.graph.policy import OnError
from weftline_executor.graph.topology import Graph
from weftline_executor.model.states import SkipReason

ERROR_HANDLE = "error"
"""The output handle that fires when a node fails whose policy says `fail_branch`."""


class Outcome(IntEnum):
    """What became of an edge's source, seen from the edge. The higher value is the weightier cause of a skip."""

    TAKEN = 0
    SKIPPED = 1
    NOT_CHOSEN = 2
    CONDITION_FALSE = 3
    FAILED = 4


_REASON = {
    Outcome.TAKEN: SkipReason.UPSTREAM_SKIPPED,
    Outcome.SKIPPED: SkipReason.UPSTREAM_SKIPPED,
    Outcome.NOT_CHOSEN: SkipReason.BRANCH_NOT_TAKEN,
    Outcome.CONDITION_FALSE: SkipReason.CONDITION_FALSE,
    Outcome.FAILED: SkipReason.UPSTREAM_FAILED,
}


_VERDICTS = (Verdict.WAIT, Verdict.RUN, Verdict.SKIP)
_RUN, _SKIP = 1, 2


@dataclass(slots=True)
class Resolution:
    """What followed from an arrival: nodes (by index) that are `ready` now, and those `skipped`, with their reasons."""

    ready: list[int] = field(default_factory=list)
    skipped: list[tuple[int, SkipReason]] = field(default_factory=list)


class Frontier:
    """The edge states of one run.

    Each node is decided once: it becomes ready or is skipped. `undecided` counts those that are neither yet, without
    the `finally` nodes, of which none is decided before `finish`. To them only edges from their like are something to
    wait for; what other edges bring they are given.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        size = len(graph)
        self._taken = [0] * size
        self._failed = [0] * size
        self._skipped = [0] * size
        self._worst = [Outcome.TAKEN] * size
        self._decided = bytearray(size)
        self._edge_taken = bytearray(len(graph.edges))
        self._edge_known = bytearray(len(graph.edges))
        self._final = bytearray(node.policy.final for node in graph.nodes)
        self._finals = sum(self._final)
        self._edges = [len(edges) for edges in graph.incoming]
        for source, target in zip(graph.sources, graph.targets, strict=True):
            if self._final[target] and not self._final[source]:
                self._edges[target] -= 1
        self._missing = self._edges.copy()
        self.finishing = False
        self.undecided = size - self._finals

    def begin(self) -> Resolution:
        """The nodes that wait for nobody: those without in-edges, and those whose join says `always`."""
        return self._open(0)

    def finish(self) -> Resolution:
        """All but the `finally` nodes have ended: gives those of them that wait for no other."""
        self.finishing = True
        return self._open(1)

    def _open(self, final: int) -> Resolution:
        resolution = Resolution()
        arrivals: list[tuple[int, Outcome]] = []
        for node, definition in enumerate(self._graph.nodes):
            if self._final[node] != final or self._decided[node]:
                continue
            if not self._edges[node]:
                self._decide(node, Verdict.RUN, resolution, arrivals)
            elif definition.join.rule == "always":
                self._evaluate(node, resolution, arrivals)
        self._spread(arrivals, resolution)
        return resolution

    def succeeded(self, node: int, handle: str = "") -> Resolution:
        """A node succeeded; `handle` is the one output handle that fired, or empty for all but the error handle."""
        edges, definition = self._graph.edges, self._graph.nodes[node]
        is_condition = handle and definition.type == "condition"
        branches_on_error = definition.policy.on_error is OnError.FAIL_BRANCH
        arrivals: list[tuple[int, Outcome]] = []
        for edge in self._graph.outgoing[node]:
            wanted = edges[edge].source_handle
            if branches_on_error and wanted == ERROR_HANDLE:
                arrivals.append((edge, Outcome.NOT_CHOSEN))
            elif not handle or not wanted or wanted == handle:
                arrivals.append((edge, Outcome.TAKEN))
            elif is_condition and wanted == "true":
                arrivals.append((edge, Outcome.CONDITION_FALSE))
            else:
                arrivals.append((edge, Outcome.NOT_CHOSEN))
        return self._arrive(arrivals)

    def skipped(self, node: int) -> Resolution:
        """A node that had begun was skipped after all."""
        return self._arrive([(edge, Outcome.SKIPPED) for edge in self._graph.outgoing[node]])

    def failed_over(self, node: int) -> Resolution:
        """A node failed, and its error handle fires."""
        edges = self._graph.edges
        return self._arrive(
            [
                (edge, Outcome.TAKEN if edges[edge].source_handle == ERROR_HANDLE else Outcome.NOT_CHOSEN)
                for edge in self._graph.outgoing[node]
            ]
        )

    def failed(self, node: int) -> Resolution:
        """A node failed for good."""
        return self._arrive([(edge, Outcome.FAILED) for edge in self._graph.outgoing[node]])

    def settle(self, node: int) -> None:
        """Marks a node as decided by an earlier life of the run."""
        if not self._decided[node]:
            self._decided[node] = _RUN
            if not self._final[node]:
                self.undecided -= 1

    @property
    def has_finals(self) -> bool:
        """Whether the graph has `finally` nodes."""
        return self._finals > 0

    def skip_rest(self, but_finals: bool = False) -> list[int]:
        """Decides every undecided node as skipped and gives them in the order of the definition."""
        rest = [
            node for node, decided in enumerate(self._decided) if not decided and not (but_finals and self._final[node])
        ]
        for node in rest:
            self.settle(node)
            self._decided[node] = _SKIP
        return rest

    def taken_edges(self, node: int) -> list[int]:
        """The in-edges of `node` that were taken, in the order of the definition."""
        return [edge for edge in self._graph.incoming[node] if self._edge_taken[edge]]

    def verdict(self, node: int) -> Verdict:
        """What has been decided of `node` so far."""
        return _VERDICTS[self._decided[node]]

    def unknown_sources(self, node: int) -> list[int]:
        """The nodes that `node` waits for and that have not ended, each once, in the order of the definition."""
        known, sources = self._edge_known, self._graph.sources
        found = [sources[edge] for edge in self._graph.incoming[node] if not known[edge]]
        if self._final[node]:
            found = [source for source in found if self._final[source]]
        return found if len(found) < 2 else list(dict.fromkeys(found))

    def _arrive(self, arrivals: list[tuple[int, Outcome]]) -> Resolution:
        resolution = Resolution()
        self._spread(arrivals, resolution)
        return resolution

    def _spread(self, arrivals: list[tuple[int, Outcome]], resolution: Resolution) -> None:
        # A skip makes arrivals of its own; a work list instead of recursion, because a chain of skips can be long.
        for edge, outcome in arrivals:
            node = self._graph.targets[edge]
            self._edge_known[edge] = 1
            if outcome is Outcome.TAKEN:
                self._edge_taken[edge] = 1
            if self._final[node] and not self._final[self._graph.sources[edge]]:
                continue
            self._missing[node] -= 1
            if outcome is Outcome.TAKEN:
                self._taken[node] += 1
            else:
                if outcome is Outcome.FAILED:
                    self._failed[node] += 1
                else:
                    self._skipped[node] += 1
                self._worst[node] = max(self._worst[node], outcome)
            if not self._decided[node] and (not self._missing[node] or node in self._graph.early):
                self._evaluate(node, resolution, arrivals)

    def _evaluate(self, node: int, resolution: Resolution, arrivals: list[tuple[int, Outcome]]) -> None:
        verdict = self._graph.nodes[node].join.decide(
            edges=self._edges[node],
            taken=self._taken[node],
            failed=self._failed[node],
            skipped=self._skipped[node],
        )
        self._decide(node, verdict, resolution, arrivals)

    def _decide(self, node: int, verdict: Verdict, resolution: Resolution, arrivals: list[tuple[int, Outcome]]) -> None:
        if verdict is Verdict.WAIT:
            return
        self.settle(node)
        if verdict is Verdict.RUN and not self._graph.nodes[node].policy.disabled:
            resolution.ready.append(node)
        else:
            self._decided[node] = _SKIP
            worst = self._worst[node]
            reason = SkipReason.DISABLED if verdict is Verdict.RUN else _REASON[worst]
            resolution.skipped.append((node, reason))
            # What failed upstream is why the whole branch is skipped, however long it is; not so for a disabled node.
            outcome = Outcome.FAILED if reason is SkipReason.UPSTREAM_FAILED else Outcome.SKIPPED
            arrivals.extend((edge, outcome) for edge in self._graph.outgoing[node])
