"""The state of one run as its events make it; pure: no clock, no I/O, the same events give the same state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Raw

from weftline_executor.errors import IllegalTransition
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.events import (
    NO_JSON,
    Event,
    LogWritten,
    NodeFailed,
    NodePending,
    NodeRunning,
    NodeSkipped,
    NodeSucceeded,
    ParentNode,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopping,
    StateChange,
)
from weftline_executor.model.states import WAITS, Handling, NodeStatus, PendingReason, RunState
from weftline_executor.replay.transitions import NODE_TRANSITIONS, RUN_TRANSITIONS

KEPT_LOGS = 200
"""How many of the newest log lines a projection keeps for snapshots."""


class NodeState:
    """What is known of one node; times are ms since the Unix epoch.

    `first_started_at` and `first_attempt` are of the attempt that those after a crash go on with.

    `output` is what a success gave, the details of a failure, or what a node waits for; `by` is who completed it.
    Where the whole of what a success gave is an `artifact`, `output` is a preview of it.
    """

    __slots__ = (
        "artifact",
        "attempt",
        "by",
        "code",
        "due",
        "duration",
        "error",
        "failures",
        "first_attempt",
        "first_started_at",
        "handle",
        "handled",
        "output",
        "progress",
        "reason",
        "recoveries",
        "since",
        "started_at",
        "status",
    )

    def __init__(self) -> None:
        self.status = NodeStatus.PENDING
        self.attempt = 0
        self.first_started_at: int | None = None
        self.first_attempt = 0
        self.started_at: int | None = None
        self.duration: int | None = None
        self.error = ""
        self.code = ""
        self.reason = ""
        self.handle = ""
        self.handled = Handling.NONE
        self.by = ""
        self.failures = 0
        self.recoveries = 0
        self.due = 0
        self.since = 0
        self.output: Raw = NO_JSON
        self.artifact: Artifact | None = None
        self.progress: float | None = None

    def forget_end(self) -> None:
        """Drops what belongs to the status that the node had, and to no other."""
        self.duration = self.progress = None
        self.error = self.code = self.reason = self.handle = self.by = ""
        self.handled = Handling.NONE
        self.due = 0
        self.output = NO_JSON
        self.artifact = None


class RunProjection:
    """The fold of a run's events.

    `nodes` holds the nodes that some event named; every other node of the run is pending. Counters are kept as the
    events come, so reading them costs nothing. `apply` raises IllegalTransition for an event that doesn't fit, which
    changes nothing. In a body, `parent_attempt` is the attempt of its node that began it, or tried it again.
    """

    def __init__(self, workflow_id: str, run_id: str) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.state = RunState.RUNNING
        self.seq = 0
        self.first_seq = 0
        self.definition: Raw = NO_JSON
        self.by = ""
        self.parent: ParentNode | None = None
        self.parent_attempt = 0
        self.rerun_of = ""
        self.trace = ""
        self.mode = ""
        self.reason = ""
        self.started_at = 0
        self.ended_at: int | None = None
        self.generation = 1
        self.generation_at = 0
        self.active_ms = 0
        self.active_since: int | None = None
        self.total_nodes = 0
        self.completed_nodes = 0
        self.failed_nodes = 0
        self.skipped_nodes = 0
        self.running_nodes = 0
        self.open_waits = 0
        self.current_node = ""
        self.nodes: dict[str, NodeState] = {}
        self.logs: deque[LogWritten] = deque(maxlen=KEPT_LOGS)
        self.failure: RunFailed | None = None
        self.outputs: Raw = NO_JSON
        self.outputs_artifact: Artifact | None = None
        self.has_artifacts = False

    @classmethod
    def of(cls, workflow_id: str, run_id: str, events: Iterable[Event]) -> RunProjection:
        """Folds all `events` of a run, from its first."""
        projection = cls(workflow_id, run_id)
        for event in events:
            projection.apply(event)
        return projection

    def node(self, node_id: str) -> NodeState:
        """The state of a node, made on first use."""
        state = self.nodes.get(node_id)
        if state is None:
            state = self.nodes[node_id] = NodeState()
        return state

    def apply(self, event: Event) -> None:
        """Takes the next event in."""
        if not self.seq:
            if not isinstance(event, RunStarted):
                raise IllegalTransition(f"run {self.run_id}", "not begun", type(event).__name__)
        elif event.seq != self.seq + 1:
            raise IllegalTransition(f"run {self.run_id}", f"at seq {self.seq}", f"seq {event.seq}")
        _APPLY[type(event)](self, event)
        self.seq = event.seq

    def apply_progress(self, node_id: str, attempt: int, progress: float) -> None:
        """Takes the newest progress of a running node's attempt in; an older attempt's is ignored."""
        state = self.node(node_id)
        if state.status is NodeStatus.RUNNING and state.attempt == attempt:
            state.progress = progress

    def active_time(self, now: int) -> int:
        """For how long this generation has been active until `now`, in ms: what it spent paused does not count."""
        return self.active_ms + (max(0, now - self.active_since) if self.active_since is not None else 0)

    def in_flight(self) -> tuple[str, ...]:
        """The ids of the running nodes."""
        if not self.running_nodes:
            return ()
        return tuple(node_id for node_id, state in self.nodes.items() if state.status is NodeStatus.RUNNING)

    def _started(self, event: RunStarted) -> None:
        if self.seq:
            raise IllegalTransition(f"run {self.run_id}", self.state, "workflow.start")
        self.first_seq = event.seq
        self.definition = event.definition
        self.by = event.by
        self.parent = event.parent
        self.parent_attempt = event.parent.attempt if event.parent else 0
        self.rerun_of = event.rerun_of
        self.trace = event.trace
        self.started_at = event.at
        self.generation_at = event.at
        self.active_since = event.at
        self.total_nodes = event.total_nodes

    def _enter(self, state: RunState, event: Event) -> None:
        if state not in RUN_TRANSITIONS.get((self.state, type(event)), ()):
            raise IllegalTransition(f"run {self.run_id}", self.state, f"{type(event).__name__} to {state}")
        self.state = state

    def _changed(self, event: StateChange) -> None:
        again = self.state.final
        self._enter(event.state, event)
        self.mode = event.mode
        self.reason = event.reason
        if again:
            self.generation += 1
            self.generation_at = event.at
            self.parent_attempt = event.attempt
            self.active_ms = 0
            self.ended_at = None
            self.failure = None
            self.outputs = NO_JSON
            self.outputs_artifact = None
        if event.state is RunState.PAUSED and self.active_since is not None:
            self.active_ms = self.active_time(event.at)
            self.active_since = None
        elif event.state is RunState.RUNNING and self.active_since is None:
            self.active_since = event.at

    def _completed(self, event: RunCompleted) -> None:
        self._enter(event.status, event)
        self._ended(event.at)
        self.outputs = event.outputs
        self.outputs_artifact = event.artifact

    def _failed(self, event: RunFailed) -> None:
        self._enter(RunState.ERROR, event)
        self._ended(event.at)
        self.failure = event

    def _ended(self, at: int) -> None:
        self.active_ms = self.active_time(at)
        self.active_since = None
        self.ended_at = at

    def _transit(self, node_id: str, event: Event) -> NodeState:
        known = self.nodes.get(node_id)
        before = NodeStatus.PENDING if known is None else known.status
        status = NODE_TRANSITIONS.get((before, type(event)))
        if status is None or self.state.final:
            raise IllegalTransition(f"node {node_id!r}", before, type(event).__name__)
        if known is None:
            state = self.nodes[node_id] = NodeState()
        else:
            state = known
            if before is NodeStatus.RUNNING:
                self.running_nodes -= 1
            elif before is NodeStatus.PENDING and state.reason in WAITS:
                self.open_waits -= 1
            state.forget_end()
        state.status = status
        return state

    def _node_pending(self, event: NodePending) -> None:
        known = self.nodes.get(event.node)
        before = NodeStatus.PENDING if known is None else known.status
        state = self._transit(event.node, event)
        if before is NodeStatus.ERROR:
            self.failed_nodes -= 1
        elif before is NodeStatus.SKIPPED:
            self.skipped_nodes -= 1
        elif before is NodeStatus.SUCCESS:
            self.completed_nodes -= 1
        if event.reason is PendingReason.RESET:
            state.failures = state.recoveries = 0
        elif event.reason is PendingReason.RECOVERED:
            state.recoveries += 1
        if event.reason in WAITS:
            self.open_waits += 1
            state.output = event.details
        elif event.reason not in (PendingReason.RECOVERED, PendingReason.CONCURRENCY):
            # The next attempt begins anew; only after a crash does an attempt go on where the one before was.
            state.first_started_at = None
        state.attempt = event.attempt
        state.reason = event.reason
        state.due = event.due
        state.since = event.at

    def _node_running(self, event: NodeRunning) -> None:
        state = self._transit(event.node, event)
        state.attempt = event.attempt
        state.started_at = event.at
        if state.first_started_at is None:
            state.first_started_at = event.at
            state.first_attempt = event.attempt
        self.running_nodes += 1
        self.current_node = event.node

    def _node_succeeded(self, event: NodeSucceeded) -> None:
        state = self._transit(event.node, event)
        state.attempt = event.attempt
        state.duration = event.duration
        state.output = event.output
        state.artifact = event.artifact
        self.has_artifacts = self.has_artifacts or event.artifact is not None
        state.handle = event.handle
        state.reason = event.reason
        state.by = event.by
        self.completed_nodes += 1

    def _node_failed(self, event: NodeFailed) -> None:
        state = self._transit(event.node, event)
        state.duration = event.duration
        state.error = event.error
        state.code = event.code
        state.output = event.details
        state.handled = event.handled
        state.failures += 1
        self.failed_nodes += 1

    def _node_skipped(self, event: NodeSkipped) -> None:
        state = self._transit(event.node, event)
        state.reason = event.reason
        self.skipped_nodes += 1

    def _logged(self, event: LogWritten) -> None:
        if self.state.final:
            raise IllegalTransition(f"run {self.run_id}", self.state, "execution.log")
        self.logs.append(event)


_APPLY: dict[type[Event], Callable[[RunProjection, Any], None]] = {
    RunStarted: RunProjection._started,
    RunPaused: RunProjection._changed,
    RunResumed: RunProjection._changed,
    RunStopping: RunProjection._changed,
    RunCompleted: RunProjection._completed,
    RunFailed: RunProjection._failed,
    NodePending: RunProjection._node_pending,
    NodeRunning: RunProjection._node_running,
    NodeSucceeded: RunProjection._node_succeeded,
    NodeFailed: RunProjection._node_failed,
    NodeSkipped: RunProjection._node_skipped,
    LogWritten: RunProjection._logged,
}
