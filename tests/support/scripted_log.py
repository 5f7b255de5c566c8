"""An executor's log in memory, for tests: durable events per workflow, and the state that they fold to."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from uuid import uuid4

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as pb

PAYLOADS: dict[type, str] = {
    ev.WorkflowStart: "workflow_start",
    ev.NodeTransition: "node",
    ev.Progress: "progress",
    ev.Log: "log",
    ev.RunComplete: "complete",
    ev.RunError: "error",
}
Payload = ev.WorkflowStart | ev.RunStateChange | ev.NodeTransition | ev.Progress | ev.Log | ev.RunComplete | ev.RunError
_STATE_FIELDS = {
    ev.RUN_STATE_PAUSING: "workflow_pause",
    ev.RUN_STATE_PAUSED: "workflow_pause",
    ev.RUN_STATE_RUNNING: "workflow_resume",
    ev.RUN_STATE_STOPPING: "workflow_stop",
}
ACTIVE = (ev.RUN_STATE_RUNNING, ev.RUN_STATE_PAUSING, ev.RUN_STATE_PAUSED, ev.RUN_STATE_STOPPING)


@dataclass
class Workflow:
    """One workflow's durable events; those up to `compacted` can't be read any more."""

    workflow_id: str
    run_id: str = ""
    events: list[ev.Event] = field(default_factory=list)
    compacted: int = 0

    @property
    def head(self) -> int:
        """The newest seq."""
        return len(self.events)

    def after(self, seq: int) -> list[ev.Event]:
        """The events after `seq`."""
        return self.events[seq:]


@dataclass(frozen=True)
class Commit:
    """Events that were appended together, at one place in the order of all workflows."""

    number: int
    workflow_id: str
    events: list[ev.Event]


class ScriptedLog:
    """All workflows of one incarnation of the log."""

    def __init__(self) -> None:
        self.epoch = uuid4().hex
        self.workflows: dict[str, Workflow] = {}
        self.commits: list[Commit] = []
        self.oldest_commit = 0

    def append(self, workflow_id: str, payloads: list[Payload]) -> Commit:
        """Give the payloads the next seqs of their workflow."""
        workflow = self.workflows.setdefault(workflow_id, Workflow(workflow_id))
        events = []
        for payload in payloads:
            if isinstance(payload, ev.WorkflowStart):
                workflow.run_id = uuid4().hex
            event = make_event(workflow, payload)
            event.seq = workflow.head + 1
            event.id = f"{workflow.run_id}-{event.seq}"
            workflow.events.append(event)
            events.append(event)
        commit = Commit(len(self.commits) + 1, workflow_id, events)
        self.commits.append(commit)
        return commit

    def telemetry(self, workflow_id: str, payload: Payload) -> ev.Event:
        """An event without a seq."""
        event = make_event(self.workflows[workflow_id], payload)
        event.id = uuid4().hex
        return event

    def snapshot(self, workflow_id: str) -> pb.WorkflowSnapshot | None:
        """The state of the newest run, folded from its events; None when the workflow never ran."""
        workflow = self.workflows.get(workflow_id)
        return fold(workflow, self.epoch) if workflow is not None else None

    def active(self) -> list[str]:
        """The workflows with an active run."""
        snapshots = {name: self.snapshot(name) for name in self.workflows}
        return [name for name, snapshot in snapshots.items() if snapshot is not None and snapshot.state in ACTIVE]


def make_event(workflow: Workflow, payload: Payload) -> ev.Event:
    """An event of the workflow's newest run, now."""
    event = ev.Event(workflow_id=workflow.workflow_id, run_id=workflow.run_id, timestamp_ms=time.time_ns() // 1_000_000)
    name = _STATE_FIELDS[payload.state] if isinstance(payload, ev.RunStateChange) else PAYLOADS[type(payload)]
    getattr(event, name).CopyFrom(payload)
    return event


def fold(workflow: Workflow, epoch: str) -> pb.WorkflowSnapshot:
    """What the events of the newest run add up to."""
    snapshot = pb.WorkflowSnapshot(workflow_id=workflow.workflow_id, epoch=epoch, seq=workflow.head)
    nodes: dict[str, ev.NodeTransition] = {}
    for event in workflow.events:
        kind = event.WhichOneof("payload")
        if kind == "workflow_start":
            start = event.workflow_start
            snapshot.definition_json, snapshot.by, snapshot.rerun_of = start.definition_json, start.by, start.rerun_of
            snapshot.ClearField("parent")
            if start.HasField("parent"):
                snapshot.parent.CopyFrom(start.parent)
            snapshot.run_id, snapshot.started_ms = event.run_id, event.timestamp_ms
            snapshot.state = ev.RUN_STATE_RUNNING
            snapshot.ClearField("logs")
            snapshot.ClearField("ended_ms")
            pending = ev.NODE_STATUS_PENDING
            ids = [node["id"] for node in json.loads(start.definition_json)["nodes"]]
            nodes = {name: ev.NodeTransition(node_id=name, status=pending, attempt=1) for name in ids}
        elif kind == "node":
            nodes[event.node.node_id] = event.node
        elif kind == "log":
            snapshot.logs.append(event)
        elif kind in ("workflow_pause", "workflow_resume", "workflow_stop"):
            change = getattr(event, kind)
            snapshot.state, snapshot.reason = change.state, change.reason
        elif kind == "complete":
            snapshot.state, snapshot.outputs_json = event.complete.status, event.complete.outputs_json
            snapshot.ended_ms = event.timestamp_ms
        elif kind == "error":
            snapshot.state = ev.RUN_STATE_ERROR
            snapshot.error.CopyFrom(event.error)
            snapshot.ended_ms = event.timestamp_ms
    snapshot.nodes.extend(nodes.values())
    snapshot.progress.CopyFrom(progress_of(list(nodes.values())))
    return snapshot


def progress_of(nodes: list[ev.NodeTransition]) -> ev.Progress:
    """Counters over nodes."""
    count = {status: sum(node.status == status for node in nodes) for status in ev.NodeStatus.values()}
    done = count[ev.NODE_STATUS_SUCCESS] + count[ev.NODE_STATUS_ERROR] + count[ev.NODE_STATUS_SKIPPED]
    return ev.Progress(
        total_nodes=len(nodes),
        completed_nodes=count[ev.NODE_STATUS_SUCCESS],
        failed_nodes=count[ev.NODE_STATUS_ERROR],
        skipped_nodes=count[ev.NODE_STATUS_SKIPPED],
        running_nodes=count[ev.NODE_STATUS_RUNNING],
        progress=done / len(nodes) if nodes else 1.0,
    )
