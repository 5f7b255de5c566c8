"""What a run comes to: its outputs, and the failure it is remembered by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from weftline_executor.engine.deadline import DEADLINE
from weftline_executor.graph import Graph
from weftline_executor.graph.definition import MAX_DEPTH, too_deep
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.events import RunCompleted, RunFailed
from weftline_executor.model.states import NodeStatus, RunState, SkipReason
from weftline_executor.replay import RunProjection

CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NodeFault:
    """The node that a run failed by."""

    node_id: str
    error: str
    code: str


def first_fault(graph: Graph, projection: RunProjection) -> NodeFault | None:
    """The first node, in the order of the definition, that failed for good."""
    if not projection.failed_nodes:
        return None
    for node in graph.nodes:
        state = projection.nodes.get(node.id)
        if state is not None and state.status is NodeStatus.ERROR and not state.handled:
            return NodeFault(node.id, state.error, state.code)
    return None


def fault_so_far(graph: Graph, projection: RunProjection) -> NodeFault | None:
    """What a run has failed by that is not being stopped, as far as its events show it.

    Where nodes were cancelled or skipped in it, and none of them failed by itself, it was over its deadline.
    """
    fault = first_fault(graph, projection)
    if graph.config.deadline and (fault is None or fault.code == CANCELLED):
        others = [projection.nodes.get(node.id) for node in graph.nodes if not node.policy.final]
        states = [state for state in others if state is not None]
        if any(state.code == CANCELLED or state.reason == SkipReason.RUN_STOPPED for state in states):
            return overrun(graph)
    return fault


def overrun(graph: Graph) -> NodeFault:
    """That a run was over its deadline."""
    return NodeFault("", f"the run was active for longer than its deadline of {graph.config.deadline:g} s", DEADLINE)


@dataclass(frozen=True, slots=True)
class OutputNode:
    """What an `output` node gave: `output` is JSON text, or empty; where there is an `artifact`, a preview of that."""

    id: str
    output: bytes
    artifact: Artifact | None


def output_nodes(graph: Graph, projection: RunProjection) -> list[OutputNode]:
    """What the `output` nodes gave that succeeded, in the order of the definition."""
    found = []
    for node in graph.nodes:
        state = projection.nodes.get(node.id) if node.type == "output" else None
        if state is not None and state.status is NodeStatus.SUCCESS:
            found.append(OutputNode(node.id, bytes(state.output), state.artifact))
    return found


class Counts(NamedTuple):
    """How many nodes of a run ended in which way, with what is decided and not durable yet."""

    completed: int
    failed: int
    skipped: int


def terminal_event(
    seq: int,
    now: int,
    graph: Graph,
    state: RunState,
    fault: NodeFault | None,
    duration: int,
    counts: Counts,
    outputs: msgspec.Raw,
    artifact: Artifact | None,
) -> RunCompleted | RunFailed:
    """The one event that ends a run in `state`."""
    if fault is not None:
        message = f"node {fault.node_id!r} failed: {fault.error}" if fault.node_id else fault.error
        details = msgspec.Raw(msgspec.json.encode({"failedNodes": counts.failed}))
        return RunFailed(seq, now, message, fault.code, fault.node_id, details)
    return RunCompleted(
        seq,
        now,
        state,
        duration,
        len(graph),
        counts.completed,
        counts.failed,
        counts.skipped,
        outputs,
        artifact,
    )


def json_object(values: Mapping[str, object], limit: int) -> msgspec.Raw:
    """What a node says beside its message, as JSON; what is no JSON becomes text, over `limit` bytes it is left out."""
    try:
        body = msgspec.json.encode(dict(values))
    except (TypeError, ValueError, RecursionError):
        body = msgspec.json.encode({clean(str(key), 256): clean(repr(value), 256) for key, value in values.items()})
    return msgspec.Raw(body if len(body) <= limit else b'{"truncated":true}')


def clean(text: str, limit: int) -> str:
    """The first `limit` characters of a text; lone surrogates, which neither the log nor gRPC can hold, become `?`."""
    return text[:limit].encode(errors="replace").decode()


def fitting(ids: Sequence[str], limit: int) -> tuple[str, ...]:
    """The first of these ids, as many as `limit` bytes of JSON have room for."""
    kept: list[str] = []
    for each in ids:
        limit -= len(msgspec.json.encode(each)) + 1
        if limit < 0:
            break
        kept.append(each)
    return tuple(kept)


def nests_too_deep(body: bytes) -> bool:
    """Whether JSON text nests deeper than a node's data may."""
    # What has fewer brackets than that can't, and so most outputs are not read for this.
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    try:
        return too_deep(msgspec.json.decode(body))
    except RecursionError:
        return True
