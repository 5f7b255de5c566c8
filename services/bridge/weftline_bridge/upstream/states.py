"""Translates the executor's snapshots of workflows."""

from __future__ import annotations

from weftline.v1 import workflow_service_pb2
from weftline_bridge.errors import TranslationError
from weftline_bridge.protocol.state import WorkflowState
from weftline_bridge.upstream.translate import (
    RUN_STATES,
    artifact_payload,
    error_payload,
    node_payload,
    parent_payload,
    progress_payload,
    translate,
)


def translate_state(snapshot: workflow_service_pb2.WorkflowSnapshot) -> WorkflowState:
    """The whole state of a workflow's newest run.

    Raises TranslationError when it has a value that the protocol does not know.
    """
    try:
        return WorkflowState(
            snapshot.workflow_id,
            snapshot.run_id,
            snapshot.epoch,
            snapshot.seq,
            RUN_STATES[snapshot.state],
            snapshot.definition_json,
            snapshot.by,
            snapshot.started_ms,
            [node_payload(node) for node in snapshot.nodes],
            progress_payload(snapshot.progress),
            [translate(event) for event in snapshot.logs],
            snapshot.ended_ms if snapshot.HasField("ended_ms") else None,
            snapshot.outputs_json,
            error_payload(snapshot.error) if snapshot.HasField("error") else None,
            snapshot.reason,
            parent_payload(snapshot.parent) if snapshot.HasField("parent") else None,
            snapshot.rerun_of,
            artifact_payload(snapshot.outputs_artifact) if snapshot.HasField("outputs_artifact") else None,
            snapshot.trace_id,
        )
    except KeyError as error:
        raise TranslationError(f"snapshot of {snapshot.workflow_id}: value {error} is not known") from error
