"""Tells how far a run and its nodes are: telemetry, measured durations, and a first estimate of the time left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.estimate import RunEstimate
from weftline_executor.engine.runtime import Runtime
from weftline_executor.model.events import NodeProgressed, RunProgressed
from weftline_executor.model.states import NodeStatus, RunState

if TYPE_CHECKING:
    from weftline_executor.engine.run import Run

INTERVAL_SECONDS = 0.1
_ACTIVE = (RunState.RUNNING, RunState.PAUSING, RunState.STOPPING)
_FINISHED = (NodeStatus.SUCCESS, NodeStatus.ERROR, NodeStatus.SKIPPED)


class ProgressReport:
    """The telemetry of one run: at most ten messages a second about the run as a whole."""

    def __init__(self, run: Run, runtime: Runtime) -> None:
        self._run = run
        self._runtime = runtime
        self._estimate = self._weigh()
        self._timer: asyncio.TimerHandle | None = None
        self._active_ms = 0
        self._active_since: int | None = runtime.now() if run.state in _ACTIVE else None
        for index, node in enumerate(run.graph.nodes):
            state = run.projection.nodes.get(node.id)
            if state is not None and state.status in _FINISHED:
                self._estimate.finish(index)

    def _weigh(self) -> RunEstimate:
        expected = self._runtime.history.expected
        kinds = [node.kind for node in self._run.graph.nodes]
        by_kind = {kind: expected(kind[0], kind) for kind in set(kinds)}
        known = [by_kind[kind] for kind in kinds]
        measured = [duration for duration in known if duration is not None]
        # A node of which nothing is known counts as much as the average of those of which something is.
        default = sum(measured) / len(measured) if measured else 1.0
        return RunEstimate([default if duration is None else duration for duration in known])

    def state_changed(self, state: RunState) -> None:
        """The run entered a state; time spent paused does not count."""
        now = self._runtime.now()
        if self._active_since is not None:
            self._active_ms += now - self._active_since
        self._active_since = now if state in _ACTIVE else None
        self._changed()

    def attempt_ended(self, attempt: Attempt, duration: int, succeeded: bool) -> None:
        """An attempt ended after `duration` ms."""
        kind = self._run.graph.nodes[attempt.index].kind
        self._runtime.metrics.node_ended(kind[0], duration / 1000, succeeded)
        if succeeded:
            self._runtime.history.record(kind[0], kind, duration)

    def finished(self, node: int) -> None:
        """A node's end is durable."""
        self._estimate.finish(node)
        self._changed()

    def node_progressed(self, attempt: Attempt, progress: float) -> None:
        """A running node is `progress` far; told only when its start is durable."""
        self._estimate.advance(attempt.index, progress)
        self._changed()
        state = self._run.projection.nodes.get(attempt.node_id)
        if state is None or state.status is not NodeStatus.RUNNING or state.attempt != attempt.number:
            return
        state.progress = progress
        event = NodeProgressed(self._runtime.now(), attempt.node_id, attempt.number, progress)
        self._runtime.on_telemetry(self._run, event)

    def current(self) -> RunProgressed:
        """The counters, progress and time left as of now."""
        now = self._runtime.now()
        projection = self._run.projection
        active = self._active_ms + (now - self._active_since if self._active_since is not None else 0)
        ended = projection.state.final
        return RunProgressed(
            now,
            len(self._run.graph),
            projection.completed_nodes,
            projection.failed_nodes,
            projection.skipped_nodes,
            projection.running_nodes,
            projection.current_node,
            1.0 if projection.state is RunState.SUCCESS else self._estimate.progress,
            None if ended else self._estimate.remaining(active),
        )

    def close(self) -> None:
        """The run ended: tells its final counters, and nothing after."""
        if self._timer is not None:
            self._timer.cancel()
        self._runtime.on_telemetry(self._run, self.current())

    def _changed(self) -> None:
        if self._timer is None:
            self._timer = self._runtime.loop.call_later(INTERVAL_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        if not self._run.projection.state.final:
            self._runtime.on_telemetry(self._run, self.current())
