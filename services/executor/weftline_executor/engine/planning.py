"""When nodes ran or will run: the critical path of a run, and how a run of a workflow would go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weftline_executor.engine.estimate import RunEstimate, filled
from weftline_executor.graph import Graph
from weftline_executor.graph.critical import Span, longest_path, measured_path
from weftline_executor.graph.forecast import simulate, tails
from weftline_executor.model.states import NodeStatus, PendingReason, RunState
from weftline_executor.replay import RunProjection

MAX_TIMELINE = 10_000
_RAN = (NodeStatus.SUCCESS, NodeStatus.ERROR)


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """When a node runs, in ms since the run's beginning; `expected` unless both times were measured."""

    node_id: str
    start: int
    end: int
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run is expected to go if every branch is taken and nothing fails.

    `duration` is in ms, `peak` how many nodes run at once at most, `known` for how many nodes a duration is known.
    `timeline` holds the first 10,000 nodes by start, `critical_path` the ids of the nodes on the longest path.
    """

    duration: int
    peak: int
    known: int
    timeline: list[PlannedNode]
    critical_path: list[str]


def plan(graph: Graph, expected: Sequence[float | None], slots: int) -> Plan:
    """Plays a run through, with what is `expected` of each node's duration, `slots` nodes at once."""
    durations = filled(expected)
    tail = tails(graph, durations)
    played = simulate(graph, durations, tail, finished=bytearray(len(graph)), running={}, slots=slots)
    order = sorted(range(len(graph)), key=lambda node: (played.starts[node], node))[:MAX_TIMELINE]
    timeline = [
        PlannedNode(
            graph.nodes[node].id, round(played.starts[node]), round(played.starts[node] + durations[node]), True
        )
        for node in order
    ]
    path = longest_path(graph, tail, max(range(len(graph)), key=tail.__getitem__)) if len(graph) else []
    known = sum(duration is not None for duration in expected)
    return Plan(round(played.duration), played.peak, known, timeline, [graph.nodes[node].id for node in path])


def path_of_ended(graph: Graph, projection: RunProjection) -> list[PlannedNode]:
    """The nodes that decided how long a run took, in order, as they were measured; none when no node ran."""
    spans = _spans(graph, projection)
    return _up_to_the_last(graph, projection, spans)


def path_of_active(
    graph: Graph, projection: RunProjection, estimate: RunEstimate, running: Mapping[int, int], now: int
) -> list[PlannedNode]:
    """The nodes that decide how long a run takes: those that have ended as measured, the others as expected.

    `running` gives how long each running node has run, in ms, `now` is in ms since the Unix epoch. Without a basis for
    an estimate, and in a run that is being stopped, only what was measured.
    """
    spans = _spans(graph, projection)
    stopping = projection.state is RunState.STOPPING
    later = {
        graph.index[node_id]: float(state.due - now)
        for node_id, state in projection.nodes.items()
        if state.status is NodeStatus.PENDING and state.reason == PendingReason.RETRY and state.due > now
    }
    ahead = estimate.path_ahead(running, later) if estimate.has_basis and not stopping else []
    if not ahead:
        return _up_to_the_last(graph, projection, spans)
    since = max(0, now - projection.started_at)
    path = _measured(graph, projection, spans, measured_path(graph, spans, ahead[0][0])[:-1])
    for node, start, end in ahead:
        path.append(PlannedNode(graph.nodes[node].id, max(0, round(since + start)), round(since + end), True))
    return path


def _up_to_the_last(graph: Graph, projection: RunProjection, spans: Mapping[int, Span]) -> list[PlannedNode]:
    """The measured path to the node that ended last; of several the one that started last."""
    if not spans:
        return []
    last = max(spans, key=lambda node: (spans[node][1], spans[node][0]))
    return _measured(graph, projection, spans, measured_path(graph, spans, last))


def _spans(graph: Graph, projection: RunProjection) -> dict[int, Span]:
    """When each node ran that has ended; its last attempt counts."""
    return {
        graph.index[node_id]: (float(state.started_at), float(state.started_at + (state.duration or 0)))
        for node_id, state in projection.nodes.items()
        if state.status in _RAN and state.started_at is not None
    }


def _measured(
    graph: Graph, projection: RunProjection, spans: Mapping[int, Span], nodes: Iterable[int]
) -> list[PlannedNode]:
    begun = projection.started_at
    return [
        PlannedNode(graph.nodes[node].id, round(spans[node][0] - begun), round(spans[node][1] - begun))
        for node in nodes
    ]
