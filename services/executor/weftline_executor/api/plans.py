"""From plans and critical paths to the contract's messages."""

from __future__ import annotations

from collections.abc import Iterable

from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.engine.planning import Plan, PlannedNode


def planned_nodes(nodes: Iterable[PlannedNode]) -> list[pb.PlannedNode]:
    """When nodes run."""
    return [
        pb.PlannedNode(node_id=node.node_id, start_ms=node.start, end_ms=node.end, expected=node.expected)
        for node in nodes
    ]


def forecast(plan: Plan) -> pb.Forecast:
    """How a run is expected to go."""
    return pb.Forecast(
        duration_ms=plan.duration,
        peak_concurrency=plan.peak,
        known_nodes=plan.known,
        timeline=planned_nodes(plan.timeline),
        critical_path=plan.critical_path,
    )
