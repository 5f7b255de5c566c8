"""Reads the bridge's messages back into the events and snapshots that the executor sent."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.open_waits import OPEN_WAITS

Fields = Mapping[str, Any]

_RUN_STATES: Final = {word: number for number, word in text.RUN_STATES.items()}
_NODE_STATUSES: Final = {word: number for number, word in text.NODE_STATUSES.items()}
_WAITING_FOR: Final = {word: number for number, word in text.WAITING_FOR.items()}
_LOG_LEVELS: Final = {word: number for number, word in text.LOG_LEVELS.items()}
_ORIGIN: Final = ("parent", "rerunOf", "traceId")
_DECORATION: Final = frozenset(
    {"note", "group", "annotation", "comment", "label", "sticky", "stickyNote", "sticky-note", "custom-note"}
)
_BODY_TYPES: Final = frozenset({"map", "workflow"})


def is_event(message: Fields) -> bool:
    """Whether a message is an event of the executor's: one of the types there are, or one that has a seq."""
    return message["type"] in _READERS or "seq" in message


def read_event(message: Fields) -> ev.Event:
    """Return the event that a message tells of; one of a type that is not known has no payload.

    Raises KeyError, TypeError or ValueError for a message that is not as the protocol has it.
    """
    event = ev.Event(
        id=message["id"],
        workflow_id=message["workflowId"],
        run_id=message.get("runId", ""),
        seq=message.get("seq", 0),
        timestamp_ms=message["timestamp"],
    )
    reader = _READERS.get(message["type"])
    if reader is not None:
        reader(event, message["payload"])
    return event


def read_snapshot(message: Fields) -> ws.WorkflowSnapshot:
    """Return the state that a `workflow.snapshot` holds; raises as `read_event`."""
    payload = message["payload"]
    snapshot = ws.WorkflowSnapshot(
        workflow_id=message["workflowId"],
        run_id=message.get("runId", ""),
        epoch=payload["epoch"],
        seq=payload["seq"],
        state=_RUN_STATES[payload["state"]],
        definition_json=json.dumps(payload["definition"]),
        by=payload["by"],
        started_ms=payload["startedAt"],
        ended_ms=payload.get("endedAt"),
        nodes=[_node(each) for each in payload["nodes"]],
        progress=_progress(payload["progress"]),
        logs=[read_event(each) for each in payload["logs"]],
        outputs_json=_json(payload, "outputs"),
        outputs_artifact=_artifact(payload.get("outputsArtifact")),
        reason=payload.get("reason", ""),
        parent=_parent(payload.get("parent")),
        rerun_of=payload.get("rerunOf", ""),
        trace_id=payload.get("traceId", ""),
    )
    if "error" in payload:
        snapshot.error.CopyFrom(_error(payload["error"]))
    return snapshot


def count_nodes(definition: Fields) -> int:
    """Return how many nodes a run of a valid definition counts, as the executor does.

    Decoration is left out, and so is what is drawn inside a node that has a body.
    """
    nodes = [each for each in definition.get("nodes") or () if isinstance(each, dict)]
    bodies = {each.get("id") for each in nodes if each.get("type") in _BODY_TYPES}
    parents = {each.get("id"): each.get("parentId") for each in nodes}
    counted = (each for each in nodes if each.get("type") not in _DECORATION)
    return sum(not _is_inside(each.get("id"), parents, bodies) for each in counted)


def _is_inside(node_id: Any, parents: Mapping[Any, Any], bodies: Iterable[Any]) -> bool:
    seen = {node_id}
    while (parent := parents.get(node_id)) is not None and parent not in seen:
        if parent in bodies:
            return True
        seen.add(parent)
        node_id = parent
    return False


def _start(event: ev.Event, payload: Fields) -> None:
    definition = {name: payload[name] for name in payload if name not in _ORIGIN}
    if next(reversed(definition), "") == "by":
        # Elsewhere than at the end it stands where the definition has a field of that name.
        del definition["by"]
    event.workflow_start.CopyFrom(
        ev.WorkflowStart(
            definition_json=json.dumps(definition),
            by=payload.get("by", ""),
            total_nodes=count_nodes(definition),
            parent=_parent(payload.get("parent")),
            rerun_of=payload.get("rerunOf", ""),
            trace_id=payload.get("traceId", ""),
        )
    )


def _change(payload: Fields) -> ev.RunStateChange:
    return ev.RunStateChange(
        state=_RUN_STATES[payload["state"]],
        by=payload["by"],
        in_flight=payload["inFlight"],
        mode=payload.get("mode", ""),
        reason=payload.get("reason", ""),
    )


def _node(payload: Fields) -> ev.NodeTransition:
    return ev.NodeTransition(
        node_id=payload["nodeId"],
        status=_NODE_STATUSES[payload["status"]],
        attempt=payload["attempt"],
        data_json=_json(payload, "data"),
        error=payload.get("error", ""),
        error_code=payload.get("code", ""),
        duration_ms=payload.get("duration"),
        progress=payload.get("progress"),
        reason=payload.get("reason", ""),
        handle=payload.get("handle", ""),
        handled=payload.get("handled", ""),
        due_ms=payload.get("until" if payload.get("reason") in OPEN_WAITS else "retryAt"),
        by=payload.get("by", ""),
        artifact=_artifact(payload.get("artifact")),
        waiting=_waiting(payload.get("waiting")),
    )


def _waiting(found: Fields | None) -> ev.Waiting | None:
    if found is None:
        return None
    return ev.Waiting(
        waiting_for=_WAITING_FOR.get(found["for"], ev.WAITING_FOR_UNSPECIFIED),
        parent_ids=found.get("parents", ()),
        parents=found.get("count", 0),
        position=found.get("position", 0),
        due_ms=found.get("until"),
        event=found.get("event", ""),
    )


def _artifact(found: Fields | None) -> ev.Artifact | None:
    if found is None:
        return None
    return ev.Artifact(
        uri=found["uri"], size_bytes=found["size"], sha256=found["sha256"], content_type=found["contentType"]
    )


def _parent(found: Fields | None) -> ev.ParentNode | None:
    if found is None:
        return None
    return ev.ParentNode(
        workflow_id=found["workflowId"],
        run_id=found["runId"],
        node_id=found["nodeId"],
        depth=found["depth"],
        item=found.get("item"),
    )


def _progress(payload: Fields) -> ev.Progress:
    return ev.Progress(
        total_nodes=payload["totalNodes"],
        completed_nodes=payload["completedNodes"],
        failed_nodes=payload["failedNodes"],
        skipped_nodes=payload["skippedNodes"],
        running_nodes=payload["runningNodes"],
        current_node=payload["currentNode"],
        progress=payload["progress"],
        estimated_remaining_ms=payload.get("estimatedTimeRemaining"),
    )


def _log(payload: Fields) -> ev.Log:
    return ev.Log(
        level=_LOG_LEVELS[payload["level"]],
        message=payload["message"],
        node_id=payload.get("nodeId", ""),
        context_json=_json(payload, "context"),
    )


def _complete(payload: Fields) -> ev.RunComplete:
    return ev.RunComplete(
        status=_RUN_STATES[payload["status"]],
        duration_ms=payload["duration"],
        total_nodes=payload["totalNodes"],
        completed_nodes=payload["completedNodes"],
        failed_nodes=payload["failedNodes"],
        skipped_nodes=payload["skippedNodes"],
        outputs_json=_json(payload, "outputs"),
        artifact=_artifact(payload.get("artifact")),
    )


def _error(payload: Fields) -> ev.RunError:
    return ev.RunError(
        error=payload["error"],
        code=payload["code"],
        node_id=payload.get("nodeId", ""),
        details_json=_json(payload, "details"),
    )


def _json(fields: Fields, name: str) -> str:
    """Return a field as JSON text, empty when it is not there."""
    return json.dumps(fields[name]) if name in fields else ""


_READERS: Final[Mapping[str, Callable[[ev.Event, Any], None]]] = {
    "workflow.start": _start,
    "workflow.pause": lambda event, payload: event.workflow_pause.CopyFrom(_change(payload)),
    "workflow.resume": lambda event, payload: event.workflow_resume.CopyFrom(_change(payload)),
    "workflow.stop": lambda event, payload: event.workflow_stop.CopyFrom(_change(payload)),
    **{f"node.{word}": lambda event, payload: event.node.CopyFrom(_node(payload)) for word in _NODE_STATUSES},
    "execution.progress": lambda event, payload: event.progress.CopyFrom(_progress(payload)),
    "execution.log": lambda event, payload: event.log.CopyFrom(_log(payload)),
    "execution.complete": lambda event, payload: event.complete.CopyFrom(_complete(payload)),
    "execution.error": lambda event, payload: event.error.CopyFrom(_error(payload)),
}
