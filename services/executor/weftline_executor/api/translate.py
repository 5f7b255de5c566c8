"""From the engine's events to the contract's messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from weftline.v1 import events_pb2 as pb
from weftline.v1 import workflow_service_pb2 as service_pb
from weftline_executor.engine.obstacles import Obstacle, WaitingFor
from weftline_executor.model import events as model
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.records import RunRecord
from weftline_executor.model.states import WAITS, LogLevel, NodeStatus, RunState
from weftline_executor.replay import NodeState, RunProjection
from weftline_executor.tracing import recorded_trace

RUN_STATES = {state: pb.RunState.Value(f"RUN_STATE_{state.name}") for state in RunState}
RUN_STATES_BACK = {number: state for state, number in RUN_STATES.items()}
NODE_STATUSES = {status: pb.NodeStatus.Value(f"NODE_STATUS_{status.name}") for status in NodeStatus}
LOG_LEVELS = {level: pb.LogLevel.Value(f"LOG_LEVEL_{level.name}") for level in LogLevel}
_WAITING_FOR = {kind: pb.WaitingFor.Value(f"WAITING_FOR_{kind.name}") for kind in WaitingFor}

_PENDING = NODE_STATUSES[NodeStatus.PENDING]
_RUNNING = NODE_STATUSES[NodeStatus.RUNNING]
_SUCCESS = NODE_STATUSES[NodeStatus.SUCCESS]
_ERROR = NODE_STATUSES[NodeStatus.ERROR]
_SKIPPED = NODE_STATUSES[NodeStatus.SKIPPED]


def durable_event(workflow_id: str, run_id: str, event: model.Event) -> pb.Event:
    """The message of a durable event."""
    message = pb.Event()
    _fill(message, workflow_id, run_id, event)
    return message


def durable_events(workflow_id: str, run_id: str, events: Sequence[model.Event]) -> service_pb.WatchEventsResponse:
    """The messages of durable events of one run, as a watch sends them."""
    response = service_pb.WatchEventsResponse()
    add = response.events.add
    for event in events:
        _fill(add(), workflow_id, run_id, event)
    return response


def _fill(message: pb.Event, workflow_id: str, run_id: str, event: model.Event) -> None:
    # Field by field, which costs less than to name them to the message when it is made.
    seq = event.seq
    message.id = f"{run_id}-{seq}"
    message.workflow_id, message.run_id = workflow_id, run_id
    message.seq, message.timestamp_ms = seq, event.at
    _FILL[type(event)](message, event)


def telemetry_event(workflow_id: str, run_id: str, number: int, event: model.Telemetry) -> pb.Event:
    """The message of a telemetry event; `number` makes its id unique."""
    message = pb.Event(
        id=f"{run_id}-t{event.at}-{number}", workflow_id=workflow_id, run_id=run_id, timestamp_ms=event.at
    )
    if isinstance(event, model.NodeProgressed):
        node = message.node
        node.node_id, node.status, node.attempt = event.node, _RUNNING, event.attempt
        if event.progress is not None:
            node.progress = event.progress
        if event.partial is not model.NO_JSON:
            node.data_json = text(event.partial)
    else:
        _fill_progress(message.progress, event)
    return message


def text(raw: Any) -> str:
    """JSON text of the log, for a string field."""
    return bytes(raw).decode()


def _fill_progress(message: pb.Progress, event: model.RunProgressed) -> None:
    message.total_nodes = event.total_nodes
    message.completed_nodes = event.completed_nodes
    message.failed_nodes = event.failed_nodes
    message.skipped_nodes = event.skipped_nodes
    message.running_nodes = event.running_nodes
    message.current_node = event.current_node
    message.progress = event.progress
    if event.remaining is not None:
        message.estimated_remaining_ms = event.remaining


def _start(message: pb.Event, event: model.RunStarted) -> None:
    start = message.workflow_start
    start.definition_json = text(event.definition)
    start.by = event.by
    start.total_nodes = event.total_nodes
    start.rerun_of = event.rerun_of
    if event.trace:
        start.trace_id = recorded_trace(event.trace)
    if event.parent is not None:
        start.parent.CopyFrom(parent_node(event.parent))


def parent_node(parent: model.ParentNode) -> pb.ParentNode:
    """The node that a run is the body of."""
    return pb.ParentNode(
        workflow_id=parent.workflow_id,
        run_id=parent.run_id,
        node_id=parent.node_id,
        depth=parent.depth,
        item=parent.item,
    )


def artifact_message(artifact: Artifact) -> pb.Artifact:
    """Where a value is kept that is too large for an event."""
    return pb.Artifact(
        uri=artifact.uri, size_bytes=artifact.size, sha256=artifact.sha256, content_type=artifact.content_type
    )


def _change(message: pb.RunStateChange, event: model.StateChange) -> None:
    message.state = RUN_STATES[event.state]
    message.by = event.by
    message.in_flight.extend(event.in_flight)
    message.mode = event.mode
    message.reason = event.reason


def _pending(message: pb.Event, event: model.NodePending) -> None:
    node = message.node
    node.node_id, node.status, node.attempt, node.reason = event.node, _PENDING, event.attempt, event.reason
    if event.due:
        node.due_ms = event.due
    if event.details is not model.NO_JSON:
        node.data_json = text(event.details)


def _running(message: pb.Event, event: model.NodeRunning) -> None:
    node = message.node
    node.node_id, node.status, node.attempt = event.node, _RUNNING, event.attempt


def _succeeded(message: pb.Event, event: model.NodeSucceeded) -> None:
    node = message.node
    node.node_id, node.status, node.attempt = event.node, _SUCCESS, event.attempt
    node.duration_ms = event.duration
    if event.output is not model.NO_JSON:
        node.data_json = text(event.output)
    if event.handle:
        node.handle = event.handle
    if event.reason:
        node.reason, node.by = event.reason, event.by
    if event.artifact is not None:
        node.artifact.CopyFrom(artifact_message(event.artifact))


def _node_failed(message: pb.Event, event: model.NodeFailed) -> None:
    node = message.node
    node.node_id, node.status, node.attempt = event.node, _ERROR, event.attempt
    node.duration_ms, node.error, node.error_code = event.duration, event.error, event.code
    node.handled = event.handled
    if event.details is not model.NO_JSON:
        node.data_json = text(event.details)


def _skipped(message: pb.Event, event: model.NodeSkipped) -> None:
    node = message.node
    node.node_id, node.status, node.reason = event.node, _SKIPPED, event.reason


def _log(message: pb.Event, event: model.LogWritten) -> None:
    log = message.log
    log.level, log.message, log.node_id = LOG_LEVELS[event.level], event.message, event.node
    log.context_json = text(event.context)


def _completed(message: pb.Event, event: model.RunCompleted) -> None:
    message.complete.CopyFrom(
        pb.RunComplete(
            status=RUN_STATES[event.status],
            duration_ms=event.duration,
            total_nodes=event.total_nodes,
            completed_nodes=event.completed_nodes,
            failed_nodes=event.failed_nodes,
            skipped_nodes=event.skipped_nodes,
            outputs_json=text(event.outputs),
            artifact=None if event.artifact is None else artifact_message(event.artifact),
        )
    )


def _failed(message: pb.Event, event: model.RunFailed) -> None:
    message.error.CopyFrom(run_error(event))


def run_error(event: model.RunFailed) -> pb.RunError:
    """Why a run failed."""
    return pb.RunError(error=event.error, code=event.code, node_id=event.node, details_json=text(event.details))


_FILL: dict[type[model.Event], Callable[[pb.Event, Any], None]] = {
    model.RunStarted: _start,
    model.RunPaused: lambda message, event: _change(message.workflow_pause, event),
    model.RunResumed: lambda message, event: _change(message.workflow_resume, event),
    model.RunStopping: lambda message, event: _change(message.workflow_stop, event),
    model.NodePending: _pending,
    model.NodeRunning: _running,
    model.NodeSucceeded: _succeeded,
    model.NodeFailed: _node_failed,
    model.NodeSkipped: _skipped,
    model.LogWritten: _log,
    model.RunCompleted: _completed,
    model.RunFailed: _failed,
}


def node_state(node_id: str, state: NodeState | None) -> pb.NodeTransition:
    """What is known of a node, for a snapshot; None is a node that nothing happened to."""
    message = pb.NodeTransition(node_id=node_id, status=_PENDING)
    if state is None:
        return message
    message.status = NODE_STATUSES[state.status]
    # A skip is no attempt, also of a node that has begun; so its event says, too.
    message.attempt = 0 if state.status is NodeStatus.SKIPPED else state.attempt
    message.reason = state.reason
    if state.status is NodeStatus.SUCCESS:
        message.data_json, message.handle, message.by = text(state.output), state.handle, state.by
        if state.artifact is not None:
            message.artifact.CopyFrom(artifact_message(state.artifact))
    elif state.status is NodeStatus.PENDING and state.reason in WAITS:
        message.data_json = text(state.output)
    elif state.status is NodeStatus.ERROR:
        message.data_json, message.error, message.error_code = text(state.output), state.error, state.code
        message.handled = state.handled
    if state.due:
        message.due_ms = state.due
    if state.duration is not None:
        message.duration_ms = state.duration
    if state.progress is not None:
        message.progress = state.progress
    return message


def _fill_waiting(message: pb.Waiting, obstacle: Obstacle) -> None:
    message.waiting_for = _WAITING_FOR[obstacle.waiting_for]
    if obstacle.position:
        message.position = obstacle.position
    elif obstacle.parent_count:
        message.parent_ids.extend(obstacle.parents)
        message.parents = obstacle.parent_count
    else:
        message.event = obstacle.event
        if obstacle.due:
            message.due_ms = obstacle.due


def _node_states(
    projection: RunProjection, node_ids: list[str], obstacles: Mapping[int, Obstacle]
) -> list[pb.NodeTransition]:
    nodes = [node_state(node_id, projection.nodes.get(node_id)) for node_id in node_ids]
    for index, obstacle in obstacles.items():
        _fill_waiting(nodes[index].waiting, obstacle)
    return nodes


def snapshot(
    projection: RunProjection,
    node_ids: list[str],
    epoch: str,
    progress: model.RunProgressed,
    obstacles: Mapping[int, Obstacle] = MappingProxyType({}),
) -> service_pb.WorkflowSnapshot:
    """The whole state of a run; `node_ids` lists the nodes that it counts, in the order of the definition.

    `obstacles` says, by place in that, what nodes wait for.
    """
    message = service_pb.WorkflowSnapshot(
        workflow_id=projection.workflow_id,
        run_id=projection.run_id,
        epoch=epoch,
        seq=projection.seq,
        state=RUN_STATES[projection.state],
        definition_json=text(projection.definition),
        by=projection.by,
        started_ms=projection.started_at,
        ended_ms=projection.ended_at,
        nodes=_node_states(projection, node_ids, obstacles),
        logs=[durable_event(projection.workflow_id, projection.run_id, log) for log in projection.logs],
        outputs_json=text(projection.outputs),
        outputs_artifact=artifact_message(projection.outputs_artifact) if projection.outputs_artifact else None,
        reason=projection.reason,
        generation=projection.generation,
        parent=parent_node(projection.parent) if projection.parent else None,
        rerun_of=projection.rerun_of,
        trace_id=recorded_trace(projection.trace) if projection.trace else "",
    )
    _fill_progress(message.progress, progress)
    if projection.failure is not None:
        message.error.CopyFrom(run_error(projection.failure))
    return message


def run_summary(record: RunRecord) -> service_pb.RunSummary:
    """A run as lists show it."""
    return service_pb.RunSummary(
        workflow_id=record.workflow_id,
        run_id=record.run_id,
        state=RUN_STATES[record.state],
        first_seq=record.first_seq,
        last_seq=record.last_seq,
        started_ms=record.started_at,
        ended_ms=record.ended_at,
        total_nodes=record.total_nodes,
        parent_workflow_id=record.parent,
    )
