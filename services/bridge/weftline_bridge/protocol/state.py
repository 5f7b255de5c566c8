"""The whole state of a workflow, and how it is told to a client in either dialect."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from weftline_bridge.frames import About, Message
from weftline_bridge.protocol import names
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import (
    ArtifactPayload,
    CompletePayload,
    ErrorPayload,
    NodePayload,
    ParentPayload,
    Payload,
    ProgressPayload,
    Raw,
    RunStatePayload,
    SnapshotPayload,
    encode,
)

ACTIVE_STATES = frozenset({"running", "pausing", "paused", "stopping"})
_ORIGIN = ("parent", "rerunOf", "traceId")


class WorkflowState(msgspec.Struct, frozen=True, gc=False):
    """The newest run of a workflow as of `seq`; `definition` and `outputs` are JSON text, times are in ms.

    Where there is an `outputs_artifact`, that is the whole, and `outputs` a preview of it.
    """

    workflow_id: str
    run_id: str
    epoch: str
    seq: int
    state: str
    definition: str
    by: str
    started_ms: int
    nodes: Sequence[NodePayload]
    progress: ProgressPayload
    logs: Sequence[Message] = ()
    ended_ms: int | None = None
    outputs: str = ""
    error: ErrorPayload | None = None
    reason: str = ""
    parent: ParentPayload | None = None
    rerun_of: str = ""
    outputs_artifact: ArtifactPayload | None = None
    trace_id: str = ""

    @property
    def active(self) -> bool:
        """Whether the run has not ended."""
        return self.state in ACTIVE_STATES


def start_payload(
    definition: str, by: str, parent: ParentPayload | None = None, rerun_of: str = "", trace_id: str = ""
) -> Raw:
    """The payload of an outgoing `workflow.start`: the definition's text as it is, and where the run comes from.

    Raises ValueError when `definition` is not the text of a JSON object.
    """
    body = definition.strip()
    if not (body.startswith("{") and body.endswith("}")):
        raise ValueError("a definition has to be a JSON object")
    if any(f'"{name}"' in body for name in _ORIGIN):
        body = _without_origin(body)
    body = body[:-1].rstrip()
    comma = "" if body == "{" else ","
    origin = f'"by":{encode(by).decode()}'
    if parent is not None:
        origin += f',"parent":{encode(parent).decode()}'
    if rerun_of:
        origin += f',"rerunOf":{encode(rerun_of).decode()}'
    if trace_id:
        origin += f',"traceId":{encode(trace_id).decode()}'
    return Raw(f"{body}{comma}{origin}}}")


def _without_origin(definition: str) -> str:
    """A definition without fields of its own that would read as the bridge's words about where the run comes from."""
    try:
        fields = msgspec.json.decode(definition, type=dict[str, Raw])
    except msgspec.DecodeError as error:
        raise ValueError(f"a definition has to be a JSON object: {error}") from error
    if fields.keys().isdisjoint(_ORIGIN):
        return definition
    return encode({name: value for name, value in fields.items() if name not in _ORIGIN}).decode()


def snapshot_message(state: WorkflowState, mint: Mint) -> Message:
    """`workflow.snapshot` for a client of `weftline.v1`."""
    payload = SnapshotPayload(
        state.epoch,
        state.seq,
        state.state,
        Raw(state.definition),
        state.by,
        state.started_ms,
        state.nodes,
        state.progress,
        [Raw(log.data) for log in state.logs],
        state.ended_ms,
        Raw(state.outputs) if state.outputs else None,
        state.error,
        state.reason,
        state.parent,
        state.rerun_of,
        state.outputs_artifact,
        state.trace_id,
    )
    about = About("snapshot", state.seq, state.seq)
    return mint.message(
        names.WORKFLOW_SNAPSHOT, payload, workflow_id=state.workflow_id, run_id=state.run_id, about=about
    )


def replay_messages(state: WorkflowState, mint: Mint) -> list[Message]:
    """The state as messages that a client of the plain dialect knows.

    They have no seq: they say what is, not what happened.
    """

    def said(kind: str, payload: Payload | Raw, about: About | None = None) -> Message:
        return mint.message(kind, payload, workflow_id=state.workflow_id, run_id=state.run_id, about=about)

    start = start_payload(state.definition, state.by, state.parent, state.rerun_of, state.trace_id)
    messages = [said(names.WORKFLOW_START, start, About("snapshot", state.seq, state.seq))]
    messages += [said(f"node.{node.status}", node) for node in state.nodes]
    messages.append(said(names.EXECUTION_PROGRESS, state.progress))
    if state.state in ("pausing", "paused"):
        messages.append(said(names.WORKFLOW_PAUSE, _run_state(state)))
    elif state.state == "stopping":
        messages.append(said(names.WORKFLOW_STOP, _run_state(state)))
    elif state.state == "error":
        messages.append(said(names.EXECUTION_ERROR, state.error or ErrorPayload("the run failed", "unknown")))
    elif not state.active:
        messages.append(said(names.EXECUTION_COMPLETE, _completion(state)))
    return messages


def _run_state(state: WorkflowState) -> RunStatePayload:
    in_flight = [node.node_id for node in state.nodes if node.status == "running"]
    return RunStatePayload(state.state, state.by, in_flight, reason=state.reason)


def _completion(state: WorkflowState) -> CompletePayload:
    counts = state.progress
    return CompletePayload(
        state.state,
        (state.ended_ms or state.started_ms) - state.started_ms,
        counts.total_nodes,
        counts.completed_nodes,
        counts.failed_nodes,
        counts.skipped_nodes,
        Raw(state.outputs or "{}"),
        state.outputs_artifact,
    )
