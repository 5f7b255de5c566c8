"""Shorthands for the events that tests append to the scripted executor's log."""

from __future__ import annotations

import json

from weftline.v1 import events_pb2 as ev


def start(*nodes: str, by: str = "tester") -> ev.WorkflowStart:
    """A run of these nodes begins."""
    definition = {"nodes": [{"id": name, "type": "noop"} for name in nodes], "edges": [], "config": {}}
    return ev.WorkflowStart(definition_json=json.dumps(definition), by=by, total_nodes=len(nodes))


def body(of: str, *nodes: str) -> ev.WorkflowStart:
    """A run of these nodes begins as the body of a node of the workflow `of`."""
    begun = start(*nodes, by="weftline")
    begun.parent.CopyFrom(ev.ParentNode(workflow_id=of, run_id="outer", node_id="each", depth=1))
    return begun


def waiting(node: str, message: str) -> ev.NodeTransition:
    """A node waits for an approval."""
    asked = json.dumps({"message": message})
    return ev.NodeTransition(
        node_id=node, status=ev.NODE_STATUS_PENDING, attempt=1, reason="approval", data_json=asked, due_ms=2_000
    )


def running(node: str, attempt: int = 1) -> ev.NodeTransition:
    """A node runs."""
    return ev.NodeTransition(node_id=node, status=ev.NODE_STATUS_RUNNING, attempt=attempt)


def tick(node: str, progress: float, attempt: int = 1) -> ev.NodeTransition:
    """A node made progress (telemetry)."""
    return ev.NodeTransition(node_id=node, status=ev.NODE_STATUS_RUNNING, attempt=attempt, progress=progress)


def partial(node: str, text: str) -> ev.NodeTransition:
    """A node has this text so far (telemetry)."""
    data = json.dumps({"text": text})
    return ev.NodeTransition(node_id=node, status=ev.NODE_STATUS_RUNNING, attempt=1, data_json=data)


def success(node: str, data: str = "") -> ev.NodeTransition:
    """A node succeeded, with this JSON as its output."""
    return ev.NodeTransition(node_id=node, status=ev.NODE_STATUS_SUCCESS, attempt=1, data_json=data, duration_ms=12)


def log(message: str, level: ev.LogLevel.ValueType = ev.LOG_LEVEL_INFO) -> ev.Log:
    """A log line."""
    return ev.Log(level=level, message=message)


def paused() -> ev.RunStateChange:
    """The run is paused."""
    return ev.RunStateChange(state=ev.RUN_STATE_PAUSED, by="tester", mode="drain", reason="lunch")


def complete() -> ev.RunComplete:
    """The run succeeded."""
    return ev.RunComplete(status=ev.RUN_STATE_SUCCESS, duration_ms=99, total_nodes=1, completed_nodes=1)
