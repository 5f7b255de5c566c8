"""Says when nodes ran or will run: in active runs, in ended ones, and in runs of a workflow that might be started."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from weftline_executor.engine.expected import expected_durations
from weftline_executor.engine.planning import Plan, PlannedNode, path_of_ended, plan
from weftline_executor.engine.runtime import Runtime
from weftline_executor.errors import InvalidWorkflow
from weftline_executor.graph import Graph
from weftline_executor.replay import RunProjection

KEPT_PATHS = 32
LARGE_GRAPH = 2_000
"""Graphs with more nodes are looked at in a thread, so that they do not stall runs."""


class Planner:
    """Plans runs, and finds critical paths; those of the last 32 ended runs that were asked for are kept.

    `compile_graph` gives the graph of a definition, or raises InvalidWorkflow.
    """

    def __init__(self, runtime: Runtime, compile_graph: Callable[[bytes], Awaitable[Graph]]) -> None:
        self._runtime = runtime
        self._compile = compile_graph
        self._kept: OrderedDict[tuple[str, int], list[PlannedNode]] = OrderedDict()

    async def plan(self, graph: Graph) -> Plan:
        """How a run of the workflow is expected to go."""
        expected = expected_durations(graph, self._runtime.catalog, self._runtime.history)
        slots = self._runtime.slots.most_of(graph.config.concurrency)
        if len(graph) > LARGE_GRAPH:
            return await asyncio.to_thread(plan, graph, expected, slots)
        return plan(graph, expected, slots)

    async def path_of_ended(self, projection: RunProjection) -> list[PlannedNode]:
        """The critical path of an ended run; empty when its workflow is not valid any more."""
        key = (projection.run_id, projection.seq)
        path = self._kept.pop(key, None)
        if path is None:
            path = await self._find(projection)
        self._kept[key] = path
        while len(self._kept) > KEPT_PATHS:
            self._kept.popitem(last=False)
        return path

    async def _find(self, projection: RunProjection) -> list[PlannedNode]:
        try:
            graph = await self._compile(bytes(projection.definition))
        except InvalidWorkflow:
            # For example because a node type is gone.
            return []
        if len(graph) > LARGE_GRAPH:
            return await asyncio.to_thread(path_of_ended, graph, projection)
        return path_of_ended(graph, projection)
