"""Reads the vectors of tests/vectors/fold: messages as they are on the wire, and the state that they make.

A vector holds `messages` and either `state`, in the shape of a `workflow.snapshot`'s payload without its definition and
fraction of progress, or `refused: true` when the last message must be refused. Empty values are left out.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from weftline_executor.model import events as model
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.states import (
    WAITS,
    Handling,
    LogLevel,
    NodeStatus,
    PendingReason,
    RunState,
    SkipReason,
    SuccessReason,
)
from weftline_executor.replay import NodeState, RunProjection

FOLDER = Path(__file__).resolve().parents[3] / "vectors" / "fold"
VECTORS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

PARENT = ("workflowId", "runId", "nodeId", "depth", "item")

_CHANGES: dict[str, Callable[..., model.StateChange]] = {
    "workflow.pause": model.RunPaused,
    "workflow.resume": model.RunResumed,
    "workflow.stop": model.RunStopping,
}


def raw(value: object) -> Raw:
    """JSON text of a value; nothing for None."""
    return model.NO_JSON if value is None else Raw(json.dumps(value).encode())


def artifact_of(payload: dict[str, Any]) -> Artifact | None:
    """The artifact that a payload names."""
    named = payload.get("artifact")
    return None if named is None else msgspec.convert(named, Artifact)


def event_of(message: dict[str, Any]) -> model.Event:
    """The event that a message tells of."""
    kind, seq, at, payload = message["type"], message["seq"], message["timestamp"], message["payload"]
    if kind == "workflow.start":
        by, rerun_of, parent = payload.pop("by", ""), payload.pop("rerunOf", ""), payload.pop("parent", None)
        whose = model.ParentNode(*(parent.get(name) for name in PARENT)) if parent else None
        return model.RunStarted(seq, at, raw(payload), len(payload["nodes"]), by, whose, rerun_of)
    if kind in _CHANGES:
        state, in_flight = RunState(payload["state"]), tuple(payload.get("inFlight", ()))
        words = (payload.get("mode", ""), payload.get("reason", ""))
        return _CHANGES[kind](seq, at, state, payload.get("by", ""), in_flight, *words)
    if kind.startswith("node."):
        return _node_event(kind, seq, at, payload)
    if kind == "execution.log":
        level, node = LogLevel(payload["level"]), payload.get("nodeId", "")
        return model.LogWritten(seq, at, level, payload["message"], node, raw(payload.get("context")))
    if kind == "execution.complete":
        names = ("duration", "totalNodes", "completedNodes", "failedNodes", "skippedNodes")
        duration, total, completed, failed, skipped = (payload[name] for name in names)
        return model.RunCompleted(
            seq,
            at,
            RunState(payload["status"]),
            duration,
            total,
            completed,
            failed,
            skipped,
            raw(payload["outputs"]),
            artifact_of(payload),
        )
    assert kind == "execution.error"
    return model.RunFailed(
        seq, at, payload["error"], payload["code"], payload.get("nodeId", ""), raw(payload.get("details"))
    )


def _node_event(kind: str, seq: int, at: int, payload: dict[str, Any]) -> model.Event:
    node, attempt = payload["nodeId"], payload.get("attempt", 0)
    match kind:
        case "node.pending":
            due = payload.get("until", payload.get("retryAt", 0))
            details = raw(payload.get("data"))
            return model.NodePending(seq, at, node, attempt, PendingReason(payload["reason"]), due, details)
        case "node.running":
            return model.NodeRunning(seq, at, node, attempt)
        case "node.success":
            output, handle = raw(payload.get("data")), payload.get("handle", "")
            reason = SuccessReason(payload.get("reason", ""))
            more = reason, payload.get("by", ""), artifact_of(payload)
            return model.NodeSucceeded(seq, at, node, attempt, payload["duration"], output, handle, *more)
        case "node.error":
            words = (payload["error"], payload["code"], raw(payload.get("data")), Handling(payload.get("handled", "")))
            return model.NodeFailed(seq, at, node, attempt, payload["duration"], *words)
        case _:
            return model.NodeSkipped(seq, at, node, SkipReason(payload["reason"]))


def shown(projection: RunProjection) -> dict[str, Any]:
    """A projection in the shape of a vector's state."""
    definition = json.loads(bytes(projection.definition))
    failure, parent = projection.failure, projection.parent
    state = {
        "seq": projection.seq,
        "state": projection.state.value,
        "by": projection.by,
        "rerunOf": projection.rerun_of,
        "parent": parent
        and {key: value for key, value in zip(PARENT, astuple(parent)[:-1], strict=True) if value is not None},
        "reason": projection.reason,
        "startedAt": projection.started_at,
        "endedAt": projection.ended_at,
        "nodes": [_shown_node(node["id"], projection.nodes.get(node["id"])) for node in definition["nodes"]],
        "progress": {
            "totalNodes": projection.total_nodes,
            "completedNodes": projection.completed_nodes,
            "failedNodes": projection.failed_nodes,
            "skippedNodes": projection.skipped_nodes,
            "runningNodes": projection.running_nodes,
            "currentNode": projection.current_node,
        },
        "logs": [_shown_log(log) for log in projection.logs],
        "outputs": _value(projection.outputs),
        "outputsArtifact": projection.outputs_artifact and msgspec.to_builtins(projection.outputs_artifact),
        "error": failure
        and {"error": failure.error, "code": failure.code, "nodeId": failure.node, "details": _value(failure.details)},
    }
    return {name: value for name, value in state.items() if value not in (None, "")}


def _shown_node(node_id: str, state: NodeState | None) -> dict[str, Any]:
    if state is None:
        return {"nodeId": node_id, "status": "pending", "attempt": 0}
    # A skip is no attempt, also of a node that has begun.
    attempt = 0 if state.status is NodeStatus.SKIPPED else state.attempt
    found = {"nodeId": node_id, "status": state.status.value, "attempt": attempt}
    waits = state.reason in WAITS
    more = {
        "data": _value(state.output) if waits or state.status in (NodeStatus.SUCCESS, NodeStatus.ERROR) else None,
        "error": state.error,
        "code": state.code,
        "duration": state.duration,
        "reason": state.reason,
        "handle": state.handle,
        "artifact": state.artifact and msgspec.to_builtins(state.artifact),
        "handled": state.handled,
        "by": state.by,
        "until" if waits else "retryAt": state.due or None,
    }
    return found | {name: value for name, value in more.items() if value not in (None, "")}


def _shown_log(log: model.LogWritten) -> dict[str, Any]:
    found = {"seq": log.seq, "level": log.level.value, "message": log.message}
    more = {"nodeId": log.node, "context": _value(log.context)}
    return found | {name: value for name, value in more.items() if value}


def _value(text: Raw) -> Any:
    return json.loads(bytes(text)) if bytes(text) else None
