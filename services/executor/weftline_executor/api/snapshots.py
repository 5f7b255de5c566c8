"""Snapshots of workflows, whether their run is active or only in the log."""

from __future__ import annotations

import asyncio

from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.api.translate import snapshot
from weftline_executor.engine import Engine
from weftline_executor.engine.planning import PlannedNode
from weftline_executor.engine.run import Run
from weftline_executor.graph import node_ids
from weftline_executor.model.events import RunProgressed
from weftline_executor.model.states import RunState
from weftline_executor.replay import RunProjection


class Snapshots:
    """Builds snapshots; the state they hold is exactly what was told to the listener of the engine so far."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def of(self, workflow_id: str) -> pb.WorkflowSnapshot:
        """The newest run's state. Raises WorkflowNotFound."""
        projection = await self._engine.projection(workflow_id)
        run = self._active(projection)
        return self._of_active(run) if run else await self._of_ended(projection)

    async def with_path(self, workflow_id: str) -> tuple[pb.WorkflowSnapshot, list[PlannedNode]]:
        """The newest run's state with its critical path. Raises WorkflowNotFound."""
        projection = await self._engine.projection(workflow_id)
        run = self._active(projection)
        if run is not None:
            return self._of_active(run), run.progress.critical_path()
        return await self._of_ended(projection), await self._engine.planner.path_of_ended(projection)

    def _active(self, projection: RunProjection) -> Run | None:
        run = self._engine.active(projection.workflow_id)
        return run if run is not None and run.projection is projection else None

    def _of_active(self, run: Run) -> pb.WorkflowSnapshot:
        ids = [node.id for node in run.graph.nodes]
        return snapshot(run.projection, ids, self._engine.store.epoch, run.progress.current(), run.obstacles())

    async def _of_ended(self, projection: RunProjection) -> pb.WorkflowSnapshot:
        ids = await asyncio.to_thread(node_ids, bytes(projection.definition))
        return snapshot(projection, ids, self._engine.store.epoch, _final_progress(projection))


def _final_progress(projection: RunProjection) -> RunProgressed:
    finished = projection.completed_nodes + projection.failed_nodes + projection.skipped_nodes
    succeeded = projection.state is RunState.SUCCESS
    return RunProgressed(
        projection.ended_at or projection.started_at,
        projection.total_nodes,
        projection.completed_nodes,
        projection.failed_nodes,
        projection.skipped_nodes,
        projection.running_nodes,
        projection.current_node,
        1.0 if succeeded else finished / max(1, projection.total_nodes),
        None,
    )
