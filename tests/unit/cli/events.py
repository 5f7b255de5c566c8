"""Makes the events and snapshots of one workflow, as the executor would send them."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws

WORKFLOW = "demo"
RUN = "0190a000-0000-7000-8000-000000000001"
NEWER_RUN = "0190a000-0000-7000-8000-000000000002"
EPOCH = "epoch-1"
BEGAN_MS = 1_700_000_000_000


def definition(*node_ids: str) -> str:
    """A workflow with a node of each id, labelled in capitals."""
    nodes = [{"id": node_id, "type": "noop", "data": {"label": node_id.upper()}} for node_id in node_ids]
    return json.dumps({"nodes": nodes, "edges": [], "config": {}})


def event(seq: int, *, run: str = RUN, after_ms: int = 0, workflow: str = WORKFLOW, **payload: Any) -> ev.Event:
    """An event with one payload, `after_ms` after the beginning."""
    return ev.Event(
        id=f"{run[-2:]}-{seq}", workflow_id=workflow, run_id=run, seq=seq, timestamp_ms=BEGAN_MS + after_ms, **payload
    )


def started(seq: int, *node_ids: str, run: str = RUN, workflow: str = WORKFLOW) -> ev.Event:
    """The start of a run with nodes of these ids."""
    start = ev.WorkflowStart(definition_json=definition(*node_ids), by="ada@host", total_nodes=len(node_ids))
    return event(seq, run=run, workflow=workflow, workflow_start=start)


def node(seq: int, node_id: str, status: ev.NodeStatus.ValueType, *, after_ms: int = 0, **fields: Any) -> ev.Event:
    """A transition of a node, of its first attempt unless told."""
    transition = ev.NodeTransition(node_id=node_id, status=status, **{"attempt": 1, **fields})
    return event(seq, after_ms=after_ms, node=transition)


def node_progress(node_id: str, progress: float, attempt: int = 1) -> ev.Event:
    """Telemetry: how far a node is."""
    return node(0, node_id, ev.NODE_STATUS_RUNNING, progress=progress, attempt=attempt)


def run_progress(progress: float, *, total: int, remaining_ms: int | None = None) -> ev.Event:
    """Telemetry: how far the run is."""
    return event(0, progress=ev.Progress(total_nodes=total, progress=progress, estimated_remaining_ms=remaining_ms))


def completed(seq: int, *, status: ev.RunState.ValueType = ev.RUN_STATE_SUCCESS, outputs: str = "") -> ev.Event:
    """The end of a run that did not fail, 2 s after its beginning."""
    return event(seq, after_ms=2000, complete=ev.RunComplete(status=status, duration_ms=2000, outputs_json=outputs))


def failed(seq: int, node_id: str) -> ev.Event:
    """The end of a run that failed at a node, 2 s after its beginning."""
    return event(seq, after_ms=2000, error=ev.RunError(error="no route to host", code="node_failed", node_id=node_id))


def log(seq: int, message: str, node_id: str = "") -> ev.Event:
    """A log line."""
    return event(seq, log=ev.Log(level=ev.LOG_LEVEL_INFO, message=message, node_id=node_id))


def snapshot(
    seq: int,
    state: ev.RunState.ValueType = ev.RUN_STATE_RUNNING,
    *,
    run: str = RUN,
    statuses: Mapping[str, ev.NodeStatus.ValueType] = MappingProxyType({}),
) -> ws.WorkflowSnapshot:
    """The state of a run whose nodes have these statuses."""
    counted = list(statuses.values())
    return ws.WorkflowSnapshot(
        workflow_id=WORKFLOW,
        run_id=run,
        epoch=EPOCH,
        seq=seq,
        state=state,
        definition_json=definition(*statuses),
        by="ada@host",
        started_ms=BEGAN_MS,
        nodes=[ev.NodeTransition(node_id=name, status=status, attempt=1) for name, status in statuses.items()],
        progress=ev.Progress(
            total_nodes=len(counted),
            completed_nodes=counted.count(ev.NODE_STATUS_SUCCESS),
            running_nodes=counted.count(ev.NODE_STATUS_RUNNING),
            progress=counted.count(ev.NODE_STATUS_SUCCESS) / max(1, len(counted)),
        ),
    )
