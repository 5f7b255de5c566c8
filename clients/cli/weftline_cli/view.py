"""Folds events and snapshots into what a screen shows of a workflow's newest run, without clock or terminal."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.open_waits import OpenWait

FINAL_STATES: Final = frozenset({ev.RUN_STATE_SUCCESS, ev.RUN_STATE_STOPPED, ev.RUN_STATE_ERROR})
CANCELLED: Final = "cancelled"
"""The error code of a node that did not fail, but was cancelled by a stop."""

NEARLY_WHOLE: Final = 0.995
"""Progress that reads as 100 %."""

FINISHED: Final = (ev.NODE_STATUS_SUCCESS, ev.NODE_STATUS_ERROR, ev.NODE_STATUS_SKIPPED)


@dataclass(slots=True)
class NodeView:
    """What is known of one node: `status` is not set before the first word of it, `progress` (0 to 1) before a running
    attempt reports it; `waiting` is what it waited for when the state was taken, `open_wait` is there while only
    somebody, or something outside, can let it go on, and `by` says who did.
    """

    node_id: str
    label: str
    type: str = ""
    status: ev.NodeStatus.ValueType = ev.NODE_STATUS_UNSPECIFIED
    attempt: int = 0
    progress: float | None = None
    started_ms: int = 0
    duration_ms: int | None = None
    reason: str = ""
    error: str = ""
    error_code: str = ""
    handled: str = ""
    by: str = ""
    waiting: ev.Waiting | None = None
    open_wait: OpenWait | None = None

    @property
    def cancelled(self) -> bool:
        """Whether a stop ended it, rather than a failure."""
        return self.status == ev.NODE_STATUS_ERROR and self.error_code == CANCELLED


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed; `node_id` is empty when no node is at fault."""

    message: str
    code: str
    node_id: str


@dataclass(slots=True)
class RunView:
    """The newest run of one workflow, as far as it was told.

    `total` counts the nodes of the run, 0 while it is unknown, `cancelled` those among its failed ones that a stop
    ended, and `handled` those whose failure their policy took care of; `open_waits` are the nodes with one, `parent` is
    the node whose body the workflow is, and `rerun_of` the run that it repeats. Times are milliseconds since the Unix
    epoch, on the executor's clock.
    """

    workflow_id: str = ""
    run_id: str = ""
    state: ev.RunState.ValueType = ev.RUN_STATE_UNSPECIFIED
    by: str = ""
    reason: str = ""
    started_ms: int = 0
    ended_ms: int | None = None
    total: int = 0
    nodes: dict[str, NodeView] = field(default_factory=dict)
    running: dict[str, NodeView] = field(default_factory=dict)
    open_waits: dict[str, NodeView] = field(default_factory=dict)
    counts: Counter[ev.NodeStatus.ValueType] = field(default_factory=Counter)
    cancelled: int = 0
    handled: int = 0
    outputs_json: str = ""
    outputs_uri: str = ""
    failure: Failure | None = None
    parent: ev.ParentNode | None = None
    rerun_of: str = ""
    _reported: float | None = None
    _remaining_ms: int | None = None
    _remaining_at_ms: int = 0

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return self.state in FINAL_STATES

    @property
    def finished(self) -> int:
        """How many nodes will not run any more in this run."""
        return sum(self.counts[status] for status in FINISHED)

    @property
    def progress(self) -> float | None:
        """How far the run is, 0 to 1: as the executor weighs it, else the share of finished nodes; None if unknown."""
        if self.state == ev.RUN_STATE_SUCCESS:
            return 1.0
        if self._reported is not None:
            return self._reported
        return self.finished / self.total if self.total else None

    def remaining_ms(self, now_ms: int) -> int | None:
        """Return the estimated time to the end at `now_ms`, in milliseconds; None when there is no estimate."""
        if self._remaining_ms is None or self.state != ev.RUN_STATE_RUNNING:
            return None
        return max(0, self._remaining_ms - max(0, now_ms - self._remaining_at_ms))

    def finishing(self, now_ms: int) -> bool:
        """Whether the run should be over by its progress or its estimate, and is not."""
        if self.state != ev.RUN_STATE_RUNNING:
            return False
        return (self.progress or 0.0) >= NEARLY_WHOLE or self.remaining_ms(now_ms) == 0

    def elapsed_ms(self, now_ms: int) -> int:
        """Return how long the run has lasted at `now_ms`, in milliseconds; as a whole once it ended."""
        if not self.started_ms:
            return 0
        return max(0, (now_ms if self.ended_ms is None else self.ended_ms) - self.started_ms)

    def label(self, node_id: str) -> str:
        """Return what the canvas calls a node; its id when it has no name there."""
        node = self.nodes.get(node_id)
        return node.label if node else node_id

    def replace(self, snapshot: ws.WorkflowSnapshot, now_ms: int) -> None:
        """Forget everything and take the state of a snapshot, seen at `now_ms`."""
        self._begin(snapshot.workflow_id, snapshot.run_id, snapshot.definition_json, snapshot.started_ms)
        self.state = snapshot.state
        self.by, self.reason = snapshot.by, snapshot.reason
        self.parent, self.rerun_of = _parent(snapshot), snapshot.rerun_of
        self.ended_ms = snapshot.ended_ms if snapshot.HasField("ended_ms") else None
        for transition in snapshot.nodes:
            self._transition(transition, 0)
        self._take_progress(snapshot.progress, now_ms)
        self.total = snapshot.progress.total_nodes or len(snapshot.nodes)
        self.outputs_json, self.outputs_uri = snapshot.outputs_json, snapshot.outputs_artifact.uri
        if snapshot.HasField("error"):
            self.failure = _failure(snapshot.error)

    def apply(self, event: ev.Event, now_ms: int) -> None:
        """Take in one event, seen at `now_ms`; one of another run than the newest only when it starts that run."""
        kind = event.WhichOneof("payload")
        if kind == "workflow_start":
            self._begin(event.workflow_id, event.run_id, event.workflow_start.definition_json, event.timestamp_ms)
            self.state = ev.RUN_STATE_RUNNING
            start = event.workflow_start
            self.by, self.total = start.by, start.total_nodes
            self.parent, self.rerun_of = _parent(start), start.rerun_of
            return
        if not self.run_id:
            self.workflow_id, self.run_id = event.workflow_id, event.run_id
            self.state = ev.RUN_STATE_RUNNING
        if event.run_id != self.run_id:
            return
        if kind == "node":
            self._node(event)
        elif kind == "progress":
            self._take_progress(event.progress, now_ms)
        elif kind == "complete":
            self._end(event.complete.status, event.timestamp_ms)
            self.outputs_json, self.outputs_uri = event.complete.outputs_json, event.complete.artifact.uri
        elif kind == "error":
            self._end(ev.RUN_STATE_ERROR, event.timestamp_ms)
            self.failure = _failure(event.error)
        elif kind in ("workflow_pause", "workflow_resume", "workflow_stop"):
            change = getattr(event, kind)
            self.state, self.reason = change.state, change.reason
            if kind == "workflow_resume":
                self._begin_again()

    def _begin(self, workflow_id: str, run_id: str, definition_json: str, started_ms: int) -> None:
        self.workflow_id, self.run_id, self.started_ms = workflow_id, run_id, started_ms
        self.ended_ms = self.failure = self._reported = self._remaining_ms = None
        self.by = self.reason = self.outputs_json = self.outputs_uri = self.rerun_of = ""
        self.parent = None
        self.nodes = {node.node_id: node for node in _canvas_nodes(definition_json)}
        self.running, self.open_waits = {}, {}
        self.counts = Counter()
        self.total = self.cancelled = self.handled = 0

    def _begin_again(self) -> None:
        # A run that had ended is resumed by a retry.
        self.ended_ms = self.failure = None
        self.outputs_json = self.outputs_uri = ""

    def _node(self, event: ev.Event) -> None:
        transition = event.node
        if event.seq:
            self._transition(transition, event.timestamp_ms)
            return
        node = self.running.get(transition.node_id)
        if node and node.attempt == transition.attempt and transition.HasField("progress"):
            node.progress = transition.progress

    def _transition(self, transition: ev.NodeTransition, at_ms: int) -> None:
        node_id = transition.node_id
        node = self.nodes.get(node_id)
        if node is None:
            node = self.nodes[node_id] = NodeView(node_id, node_id)
        self.counts[node.status] -= 1
        self.counts[transition.status] += 1
        self.cancelled -= node.cancelled
        self.handled -= bool(node.handled)
        node.handled = transition.handled
        self.handled += bool(node.handled)
        node.waiting = transition.waiting if transition.HasField("waiting") else None
        node.status, node.attempt = transition.status, transition.attempt
        node.reason, node.error, node.error_code = transition.reason, transition.error, transition.error_code
        self.cancelled += node.cancelled
        node.duration_ms = transition.duration_ms if transition.HasField("duration_ms") else None
        node.progress = transition.progress if transition.HasField("progress") else None
        node.by, node.open_wait = transition.by, OpenWait.of(transition)
        self.running.pop(node_id, None)
        self.open_waits.pop(node_id, None)
        if node.open_wait is not None:
            self.open_waits[node_id] = node
        if transition.status == ev.NODE_STATUS_RUNNING:
            node.started_ms = at_ms
            self.running[node_id] = node

    def _take_progress(self, progress: ev.Progress, now_ms: int) -> None:
        self.total = progress.total_nodes or self.total
        self._reported = progress.progress
        has_estimate = progress.HasField("estimated_remaining_ms")
        self._remaining_ms = progress.estimated_remaining_ms if has_estimate else None
        self._remaining_at_ms = now_ms

    def _end(self, state: ev.RunState.ValueType, at_ms: int) -> None:
        self.state, self.ended_ms = state, at_ms
        self.running, self.open_waits = {}, {}


def _parent(run: ev.WorkflowStart | ws.WorkflowSnapshot) -> ev.ParentNode | None:
    return run.parent if run.HasField("parent") else None


def _failure(error: ev.RunError) -> Failure:
    return Failure(message=error.error, code=error.code, node_id=error.node_id)


def _canvas_nodes(definition_json: str) -> Iterable[NodeView]:
    """Yield the nodes of a definition with the names that the canvas gives them, in its order."""
    try:
        body = json.loads(definition_json) if definition_json else {}
    except ValueError:
        return
    nodes = body.get("nodes") if isinstance(body, dict) else None
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict) and isinstance(node.get("id"), str):
            yield NodeView(node["id"], _label(node), str(node.get("type", "")))


def _label(node: Mapping[str, Any]) -> str:
    data = node.get("data")
    label = data.get("label") if isinstance(data, dict) else None
    return label if isinstance(label, str) and label else str(node["id"])
