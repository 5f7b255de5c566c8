"""Writes events as the JSON messages of Weftline: the ones that a browser gets over WebSocket, for `--json`."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.open_waits import OPEN_WAITS

_ORIGIN: Final = ("parent", "rerunOf", "traceId")


def encode(value: Mapping[str, Any]) -> str:
    """Return one line of NDJSON, without its line break."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event_message(event: ev.Event) -> dict[str, Any]:
    """Return an event as a message with `id`, `type`, `timestamp`, ids, `payload`, and (durable only) `seq`."""
    kind, payload = _body(event)
    message: dict[str, Any] = {
        "id": event.id,
        "type": kind,
        "timestamp": event.timestamp_ms,
        "workflowId": event.workflow_id,
        "runId": event.run_id,
    }
    if event.seq:
        message["seq"] = event.seq
    return {**message, "payload": payload}


def snapshot_message(snapshot: ws.WorkflowSnapshot) -> dict[str, Any]:
    """Return a snapshot as a `workflow.snapshot` message; the `seq` in its payload is the last one that it holds."""
    payload: dict[str, Any] = {
        "epoch": snapshot.epoch,
        "seq": snapshot.seq,
        "state": text.run_state(snapshot.state),
        "definition": text.decode_json(snapshot.definition_json),
        "by": snapshot.by,
        "startedAt": snapshot.started_ms,
        "nodes": [node_payload(node) for node in snapshot.nodes],
        "progress": _progress(snapshot.progress),
        "logs": [event_message(event) for event in snapshot.logs],
    }
    if snapshot.HasField("ended_ms"):
        payload["endedAt"] = snapshot.ended_ms
    if snapshot.outputs_json:
        payload["outputs"] = text.decode_json(snapshot.outputs_json)
    if snapshot.HasField("outputs_artifact"):
        payload["outputsArtifact"] = artifact_row(snapshot.outputs_artifact)
    if snapshot.HasField("error"):
        payload["error"] = _error(snapshot.error)
    if snapshot.reason:
        payload["reason"] = snapshot.reason
    payload.update(_origin(snapshot))
    return {
        "type": "workflow.snapshot",
        "workflowId": snapshot.workflow_id,
        "runId": snapshot.run_id,
        "payload": payload,
    }


def command_row(result: ws.CommandResult) -> dict[str, Any]:
    """Return what a command did as one row."""
    return {
        "workflowId": result.workflow_id,
        "runId": result.run_id,
        "state": text.run_state(result.state),
        "seq": result.seq,
        "epoch": result.epoch,
    }


def summary_row(summary: ws.RunSummary) -> dict[str, Any]:
    """Return a run of a list as one row."""
    row: dict[str, Any] = {
        "workflowId": summary.workflow_id,
        "runId": summary.run_id,
        "state": text.run_state(summary.state),
        "firstSeq": summary.first_seq,
        "lastSeq": summary.last_seq,
        "startedAt": summary.started_ms,
        "totalNodes": summary.total_nodes,
    }
    if summary.HasField("ended_ms"):
        row["endedAt"] = summary.ended_ms
    if summary.parent_workflow_id:
        row["parentWorkflowId"] = summary.parent_workflow_id
    return row


def node_type_row(node_type: ws.NodeType) -> dict[str, Any]:
    """Return a node type as one row, with its schema as an object."""
    return {
        "name": node_type.name,
        "title": node_type.title,
        "description": node_type.description,
        "configSchema": text.decode_json(node_type.config_schema_json),
        "outputHandles": list(node_type.output_handles),
        "dynamicHandles": node_type.dynamic_handles,
        "idempotency": node_type.idempotency,
        "isolation": node_type.isolation,
        "hasBody": node_type.has_body,
    }


def node_payload(node: ev.NodeTransition) -> dict[str, Any]:
    """Return a node's transition as the payload of a `node.*` message; what does not apply is left out."""
    payload: dict[str, Any] = {
        "nodeId": node.node_id,
        "status": text.node_status(node.status),
        "attempt": node.attempt,
    }
    if node.data_json:
        payload["data"] = text.decode_json(node.data_json)
    if node.error:
        payload["error"] = node.error
    if node.error_code:
        payload["code"] = node.error_code
    if node.HasField("duration_ms"):
        payload["duration"] = node.duration_ms
    if node.HasField("progress"):
        payload["progress"] = node.progress
    if node.reason:
        payload["reason"] = node.reason
    if node.handle:
        payload["handle"] = node.handle
    if node.handled:
        payload["handled"] = node.handled
    if node.HasField("due_ms"):
        payload["until" if node.reason in OPEN_WAITS else "retryAt"] = node.due_ms
    if node.by:
        payload["by"] = node.by
    if node.HasField("artifact"):
        payload["artifact"] = artifact_row(node.artifact)
    if node.HasField("waiting"):
        payload["waiting"] = _waiting(node.waiting)
    return payload


def _waiting(waiting: ev.Waiting) -> dict[str, Any]:
    payload: dict[str, Any] = {"for": text.waiting_for(waiting.waiting_for)}
    if waiting.parents:
        payload["parents"] = list(waiting.parent_ids)
        payload["count"] = waiting.parents
    if waiting.position:
        payload["position"] = waiting.position
    if waiting.HasField("due_ms"):
        payload["until"] = waiting.due_ms
    if waiting.event:
        payload["event"] = waiting.event
    return payload


def artifact_row(artifact: ev.Artifact) -> dict[str, Any]:
    """Return where a value is that is kept beside the log."""
    return {
        "uri": artifact.uri,
        "size": artifact.size_bytes,
        "sha256": artifact.sha256,
        "contentType": artifact.content_type,
    }


def _body(event: ev.Event) -> tuple[str, dict[str, Any]]:
    kind = event.WhichOneof("payload")
    if kind is None:
        return "unknown", {}
    name, payload_of = _TYPES[kind]
    return name or f"node.{text.node_status(event.node.status)}", payload_of(getattr(event, kind))


def _start(start: ev.WorkflowStart) -> dict[str, Any]:
    definition = text.decode_json(start.definition_json)
    body = definition if isinstance(definition, dict) else {}
    return {**{name: body[name] for name in body if name not in _ORIGIN}, "by": start.by, **_origin(start)}


def _origin(run: ev.WorkflowStart | ws.WorkflowSnapshot) -> dict[str, Any]:
    """Return where a run comes from: the node whose body it is, the run it repeats, the trace that it is part of."""
    origin: dict[str, Any] = {}
    if run.HasField("parent"):
        parent = run.parent
        origin["parent"] = {
            "workflowId": parent.workflow_id,
            "runId": parent.run_id,
            "nodeId": parent.node_id,
            "depth": parent.depth,
            **({"item": parent.item} if parent.HasField("item") else {}),
        }
    if run.rerun_of:
        origin["rerunOf"] = run.rerun_of
    if run.trace_id:
        origin["traceId"] = run.trace_id
    return origin


def _change(change: ev.RunStateChange) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "state": text.run_state(change.state),
        "by": change.by,
        "inFlight": list(change.in_flight),
    }
    if change.mode:
        payload["mode"] = change.mode
    if change.reason:
        payload["reason"] = change.reason
    return payload


def _progress(progress: ev.Progress) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "totalNodes": progress.total_nodes,
        "completedNodes": progress.completed_nodes,
        "failedNodes": progress.failed_nodes,
        "skippedNodes": progress.skipped_nodes,
        "runningNodes": progress.running_nodes,
        "currentNode": progress.current_node,
        "progress": progress.progress,
    }
    if progress.HasField("estimated_remaining_ms"):
        payload["estimatedTimeRemaining"] = progress.estimated_remaining_ms
    return payload


def _log(log: ev.Log) -> dict[str, Any]:
    payload: dict[str, Any] = {"level": text.log_level(log.level), "message": log.message}
    if log.node_id:
        payload["nodeId"] = log.node_id
    if log.context_json:
        payload["context"] = text.decode_json(log.context_json)
    return payload


def _complete(complete: ev.RunComplete) -> dict[str, Any]:
    payload = {
        "status": text.run_state(complete.status),
        "duration": complete.duration_ms,
        "totalNodes": complete.total_nodes,
        "completedNodes": complete.completed_nodes,
        "failedNodes": complete.failed_nodes,
        "skippedNodes": complete.skipped_nodes,
        "outputs": text.decode_json(complete.outputs_json) or {},
    }
    if complete.HasField("artifact"):
        payload["artifact"] = artifact_row(complete.artifact)
    return payload


def _error(error: ev.RunError) -> dict[str, Any]:
    payload: dict[str, Any] = {"error": error.error, "code": error.code}
    if error.node_id:
        payload["nodeId"] = error.node_id
    if error.details_json:
        payload["details"] = text.decode_json(error.details_json)
    return payload


# The type and payload of each kind of event; a node's type is named by its status.
_TYPES: Final[Mapping[str, tuple[str, Callable[[Any], dict[str, Any]]]]] = {
    "workflow_start": ("workflow.start", _start),
    "workflow_pause": ("workflow.pause", _change),
    "workflow_resume": ("workflow.resume", _change),
    "workflow_stop": ("workflow.stop", _change),
    "node": ("", node_payload),
    "progress": ("execution.progress", _progress),
    "log": ("execution.log", _log),
    "complete": ("execution.complete", _complete),
    "error": ("execution.error", _error),
}
