"""Translates the executor's events into encoded messages, each exactly once; this is the bridge's hot path."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from weftline.v1 import events_pb2
from weftline_bridge.errors import TranslationError
from weftline_bridge.frames import Message
from weftline_bridge.protocol import names
from weftline_bridge.protocol.payloads import (
    ArtifactPayload,
    CompletePayload,
    Envelope,
    ErrorPayload,
    LogPayload,
    NodePayload,
    ParentPayload,
    Payload,
    ProgressPayload,
    Raw,
    RunStatePayload,
    WaitingPayload,
    encode,
)
from weftline_bridge.protocol.state import start_payload

RUN_STATES: dict[int, str] = {
    events_pb2.RUN_STATE_RUNNING: "running",
    events_pb2.RUN_STATE_PAUSING: "pausing",
    events_pb2.RUN_STATE_PAUSED: "paused",
    events_pb2.RUN_STATE_STOPPING: "stopping",
    events_pb2.RUN_STATE_SUCCESS: "success",
    events_pb2.RUN_STATE_STOPPED: "stopped",
    events_pb2.RUN_STATE_ERROR: "error",
}
NODE_STATUSES: dict[int, str] = {
    events_pb2.NODE_STATUS_PENDING: "pending",
    events_pb2.NODE_STATUS_RUNNING: "running",
    events_pb2.NODE_STATUS_SUCCESS: "success",
    events_pb2.NODE_STATUS_ERROR: "error",
    events_pb2.NODE_STATUS_SKIPPED: "skipped",
}
WAITING_FOR: dict[int, str] = {
    events_pb2.WAITING_FOR_PARENTS: "parents",
    events_pb2.WAITING_FOR_RUN_SLOT: "run_slot",
    events_pb2.WAITING_FOR_EXECUTOR_SLOT: "executor_slot",
    events_pb2.WAITING_FOR_RETRY: "retry",
    events_pb2.WAITING_FOR_APPROVAL: "approval",
    events_pb2.WAITING_FOR_EVENT: "event",
    events_pb2.WAITING_FOR_RESUME: "resume",
    events_pb2.WAITING_FOR_END: "end",
    events_pb2.WAITING_FOR_START: "start",
}
_NODE_WORDS = {number: (f"node.{status}", status) for number, status in NODE_STATUSES.items()}
_LEVELS = {number: level for level, number in names.LOG_LEVELS.items()}
_RUNNING: int = events_pb2.NODE_STATUS_RUNNING
_SUCCESS: int = events_pb2.NODE_STATUS_SUCCESS
_OPEN_WAITS = ("approval", "event")


def translate(event: events_pb2.Event) -> Message:
    """Encode one event.

    Raises TranslationError when it has no payload, or a value that the protocol does not know.
    """
    # Most events are about nodes, and reading the status costs less than asking which payload there is.
    node = event.node
    status = node.status
    if status:
        return _node(event, node, status)
    encoder = _ENCODERS.get(event.WhichOneof("payload") or "")
    if encoder is None:
        raise TranslationError(f"event {event.id} has no payload that is known")
    try:
        return encoder(event)
    except (KeyError, ValueError) as error:
        raise TranslationError(f"event {event.id}: {error}") from error


def translate_all(
    events: Iterable[events_pb2.Event], quarantine: Callable[[events_pb2.Event, TranslationError], Message | None]
) -> list[Message]:
    """Encode events in order; one that can't be is handed to `quarantine`, which may give a message for it."""
    messages: list[Message] = []
    for event in events:
        try:
            messages.append(translate(event))
        except TranslationError as error:
            instead = quarantine(event, error)
            if instead is not None:
                messages.append(instead)
    return messages


def node_payload(node: events_pb2.NodeTransition) -> NodePayload:
    """A node's transition as it is in JSON; raises KeyError for a status that is not known."""
    data = node.data_json
    due = node.due_ms if node.HasField("due_ms") else None
    open_wait = node.reason in _OPEN_WAITS
    return NodePayload(
        node.node_id,
        NODE_STATUSES[node.status],
        node.attempt,
        Raw(data) if data else None,
        node.error,
        node.error_code,
        node.duration_ms if node.HasField("duration_ms") else None,
        node.progress if node.HasField("progress") else None,
        node.reason,
        node.handle,
        node.handled,
        None if open_wait else due,
        due if open_wait else None,
        node.by,
        artifact_payload(node.artifact) if node.HasField("artifact") else None,
        _waiting(node.waiting) if node.HasField("waiting") else None,
    )


def parent_payload(parent: events_pb2.ParentNode) -> ParentPayload:
    """The node that runs a workflow as its body, as it is in JSON."""
    item = parent.item if parent.HasField("item") else None
    return ParentPayload(parent.workflow_id, parent.run_id, parent.node_id, parent.depth, item)


def progress_payload(progress: events_pb2.Progress) -> ProgressPayload:
    """A run's counters as they are in JSON."""
    return ProgressPayload(
        progress.total_nodes,
        progress.completed_nodes,
        progress.failed_nodes,
        progress.skipped_nodes,
        progress.running_nodes,
        progress.current_node,
        progress.progress,
        progress.estimated_remaining_ms if progress.HasField("estimated_remaining_ms") else None,
    )


def error_payload(error: events_pb2.RunError) -> ErrorPayload:
    """Why a run failed, as it is in JSON."""
    details = Raw(error.details_json) if error.details_json else None
    return ErrorPayload(error.error, error.code, error.node_id, details)


def _message(
    event: events_pb2.Event,
    kind: str,
    payload: Payload | Raw,
) -> Message:
    workflow_id = event.workflow_id
    seq = event.seq
    timestamp = event.timestamp_ms
    data = encode(Envelope(event.id, kind, timestamp, workflow_id, event.run_id, seq, payload))
    return Message(data, kind, workflow_id, seq, 0, None, None, timestamp)


def _node(event: events_pb2.Event, node: events_pb2.NodeTransition, status: int) -> Message:
    # Reading a field of a protobuf message costs a twentieth of all that is done here for an event: each is read once,
    # and of a durable transition only those fields that the contract sets with its status.
    words = _NODE_WORDS.get(status)
    if words is None:
        raise TranslationError(f"event {event.id}: node status {status} is not known")
    kind, word = words
    seq = event.seq
    workflow_id = event.workflow_id
    run_id = event.run_id
    timestamp = event.timestamp_ms
    if not seq:
        telemetry = node_payload(node)
        data = encode(Envelope(event.id, kind, timestamp, workflow_id, run_id, 0, telemetry))
        node_id = telemetry.node_id
        state = (run_id, status, telemetry.attempt, telemetry.progress, node.data_json)
        return Message(data, kind, workflow_id, 0, 0, (workflow_id, node_id), state, timestamp, False, node_id)
    node_id = node.node_id
    if status == _RUNNING:
        payload = NodePayload(node_id, word, node.attempt)
    elif status == _SUCCESS:
        payload = _success(node, node_id, word)
    else:
        payload = _held_up(node, node_id, word)
    data = encode(Envelope(event.id, kind, timestamp, workflow_id, run_id, seq, payload))
    return Message(data, kind, workflow_id, seq, 0, None, None, timestamp, False, node_id)


def _success(node: events_pb2.NodeTransition, node_id: str, word: str) -> NodePayload:
    data = node.data_json
    duration: int | None = node.duration_ms
    if not duration and not node.HasField("duration_ms"):
        duration = None
    payload = NodePayload(node_id, word, node.attempt, Raw(data) if data else None, "", "", duration)
    payload.handle = node.handle
    reason = node.reason
    if reason:
        payload.reason = reason
        payload.by = node.by
    if node.HasField("artifact"):
        payload.artifact = artifact_payload(node.artifact)
    return payload


def _held_up(node: events_pb2.NodeTransition, node_id: str, word: str) -> NodePayload:
    """The payload of a failure, or of a node that is skipped or waits."""
    payload = NodePayload(node_id, word, node.attempt)
    if word == "error":
        payload.error = node.error
        payload.code = node.error_code
        payload.handled = node.handled
    else:
        reason = payload.reason = node.reason
        due = node.due_ms if node.HasField("due_ms") else None
        if reason not in _OPEN_WAITS:
            payload.retry_at = due
            return payload
        payload.until = due
    data = node.data_json
    if data:
        payload.data = Raw(data)
    if node.HasField("duration_ms"):
        payload.duration = node.duration_ms
    return payload


def _start(event: events_pb2.Event) -> Message:
    start = event.workflow_start
    parent = parent_payload(start.parent) if start.HasField("parent") else None
    payload = start_payload(start.definition_json, start.by, parent, start.rerun_of, start.trace_id)
    return _message(event, names.WORKFLOW_START, payload)


def artifact_payload(artifact: events_pb2.Artifact) -> ArtifactPayload:
    """Where a value is that is too large for a message."""
    return ArtifactPayload(artifact.uri, artifact.size_bytes, artifact.sha256, artifact.content_type)


def _waiting(waiting: events_pb2.Waiting) -> WaitingPayload:
    return WaitingPayload(
        WAITING_FOR[waiting.waiting_for],
        tuple(waiting.parent_ids),
        waiting.parents,
        waiting.position,
        waiting.due_ms if waiting.HasField("due_ms") else None,
        waiting.event,
    )


def _run_state(event: events_pb2.Event, kind: str, change: events_pb2.RunStateChange) -> Message:
    state = RUN_STATES[change.state]
    payload = RunStatePayload(state, change.by, list(change.in_flight), change.mode, change.reason)
    return _message(event, kind, payload)


def _progress(event: events_pb2.Event) -> Message:
    payload = progress_payload(event.progress)
    data = encode(
        Envelope(
            event.id, names.EXECUTION_PROGRESS, event.timestamp_ms, event.workflow_id, event.run_id, event.seq, payload
        )
    )
    key = None if event.seq else (event.workflow_id, "")
    state = (
        event.run_id,
        payload.total_nodes,
        payload.completed_nodes,
        payload.failed_nodes,
        payload.skipped_nodes,
        payload.running_nodes,
        payload.current_node,
        payload.progress,
        payload.estimated_time_remaining,
    )
    return Message(data, names.EXECUTION_PROGRESS, event.workflow_id, event.seq, 0, key, state, event.timestamp_ms)


def _log(event: events_pb2.Event) -> Message:
    log = event.log
    level = log.level
    context = log.context_json
    payload = LogPayload(_LEVELS[level], log.message, log.node_id, Raw(context) if context else None)
    workflow_id = event.workflow_id
    seq = event.seq
    timestamp = event.timestamp_ms
    data = encode(Envelope(event.id, names.EXECUTION_LOG, timestamp, workflow_id, event.run_id, seq, payload))
    return Message(data, names.EXECUTION_LOG, workflow_id, seq, level, None, None, timestamp)


def _complete(event: events_pb2.Event) -> Message:
    done = event.complete
    payload = CompletePayload(
        RUN_STATES[done.status],
        done.duration_ms,
        done.total_nodes,
        done.completed_nodes,
        done.failed_nodes,
        done.skipped_nodes,
        Raw(done.outputs_json or "{}"),
        artifact_payload(done.artifact) if done.HasField("artifact") else None,
    )
    return _message(event, names.EXECUTION_COMPLETE, payload)


def _error(event: events_pb2.Event) -> Message:
    return _message(event, names.EXECUTION_ERROR, error_payload(event.error))


_ENCODERS: dict[str, Callable[[events_pb2.Event], Message]] = {
    "workflow_start": _start,
    "workflow_pause": lambda event: _run_state(event, names.WORKFLOW_PAUSE, event.workflow_pause),
    "workflow_resume": lambda event: _run_state(event, names.WORKFLOW_RESUME, event.workflow_resume),
    "workflow_stop": lambda event: _run_state(event, names.WORKFLOW_STOP, event.workflow_stop),
    "progress": _progress,
    "log": _log,
    "complete": _complete,
    "error": _error,
}
