"""Tells how far a run and its nodes are: telemetry, measured durations, and an estimate of the time left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from msgspec import Raw

from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.estimate import RunEstimate
from weftline_executor.engine.expected import expected_durations
from weftline_executor.engine.planning import PlannedNode, path_of_active
from weftline_executor.engine.runtime import Runtime
from weftline_executor.graph import Graph
from weftline_executor.model.events import NO_JSON, NodeProgressed, RunProgressed, Telemetry
from weftline_executor.model.states import NodeStatus, RunState
from weftline_executor.replay import RunProjection

INTERVAL_SECONDS = 0.1
_FINISHED = (NodeStatus.SUCCESS, NodeStatus.ERROR, NodeStatus.SKIPPED)


Working = Callable[[], tuple[Mapping[int, int], Sequence[int]]]
"""Gives how long each running node has run (in ms, by index), and about 256 ready nodes that have not started."""


def _nothing() -> tuple[Mapping[int, int], Sequence[int]]:
    return {}, ()


class ProgressReport:
    """The telemetry of one run: at most ten messages a second about the run as a whole."""

    def __init__(self, graph: Graph, projection: RunProjection, runtime: Runtime, working: Working) -> None:
        self._graph = graph
        self._projection = projection
        self._runtime = runtime
        self._working = working
        expected = expected_durations(graph, runtime.catalog, runtime.history)
        self._estimate = RunEstimate(graph, expected, runtime.slots.most_of(graph.config.concurrency))
        self._timer: asyncio.TimerHandle | None = None
        for index, node in enumerate(graph.nodes):
            state = projection.nodes.get(node.id)
            if state is not None and state.status in _FINISHED:
                self._estimate.finish(index)

    @property
    def ahead(self) -> Sequence[float]:
        """By node: how long the longest path from its start to the end of the run is expected to take, in ms."""
        return self._estimate.ahead

    def state_changed(self) -> None:
        """The run entered another state."""
        self._changed()

    def attempt_ended(self, attempt: Attempt, duration: int, succeeded: bool) -> None:
        """An attempt ended after `duration` ms."""
        kind = self._graph.nodes[attempt.index].kind
        self._runtime.metrics.node_ended(kind[0], duration / 1000, succeeded)
        if succeeded:
            self._runtime.history.record(kind, duration)

    def reset(self, node: int) -> None:
        """A node that had ended is decided anew."""
        self._estimate.reset(node)

    def interrupted(self, attempt: Attempt) -> None:
        """What an attempt had done is lost."""
        self._estimate.restart(attempt.index)
        self._changed()

    def finished(self, node: int) -> None:
        """A node's end is durable."""
        self._estimate.finish(node)
        self._changed()

    def node_progressed(self, attempt: Attempt) -> None:
        """A running node has come further, or has more to show; told only when its start is durable."""
        if attempt.progress is not None:
            self._estimate.advance(attempt.index, attempt.progress, attempt.elapsed_ms())
            self._changed()
        state = self._projection.nodes.get(attempt.node_id)
        if state is None or state.status is not NodeStatus.RUNNING or state.attempt != attempt.number:
            return
        state.progress = attempt.progress
        partial = Raw(attempt.partial) if attempt.partial else NO_JSON
        self._told(NodeProgressed(self._runtime.now(), attempt.node_id, attempt.number, attempt.progress, partial))

    def current(self) -> RunProgressed:
        """The counters, progress and time left as of now."""
        now = self._runtime.now()
        projection = self._projection
        return RunProgressed(
            now,
            len(self._graph),
            projection.completed_nodes,
            projection.failed_nodes,
            projection.skipped_nodes,
            projection.running_nodes,
            projection.current_node,
            1.0 if projection.state is RunState.SUCCESS else self._estimate.progress,
            self._remaining(),
        )

    def _remaining(self) -> int | None:
        """Time left while the run goes on; nobody knows how long a pause is, or when somebody answers."""
        if self._projection.state is not RunState.RUNNING or self._projection.open_waits:
            return None
        return self._estimate.remaining(*self._working())

    def critical_path(self) -> list[PlannedNode]:
        """The nodes that decide how long the run takes, as far as is known now."""
        running, _ = self._working()
        return path_of_active(self._graph, self._projection, self._estimate, running, self._runtime.now())

    def close(self) -> None:
        """The run ended: tells its final counters, and nothing after."""
        if self._timer is not None:
            self._timer.cancel()
        self._told(self.current())
        # It refers to the run, and the run to this.
        self._working = _nothing

    def _changed(self) -> None:
        if self._timer is None:
            self._timer = self._runtime.loop.call_later(INTERVAL_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        if not self._projection.state.final and self._runtime.listening(self._projection.workflow_id):
            self._told(self.current())

    def _told(self, event: Telemetry) -> None:
        self._runtime.on_telemetry(self._projection.workflow_id, self._projection.run_id, event)
