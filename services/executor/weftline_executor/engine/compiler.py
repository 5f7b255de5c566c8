"""Compiles definitions into graphs, and keeps what the newest gave: most workflows are run again and again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from weftline_executor.engine.launch import Catalog, PreparedNode
from weftline_executor.graph import Graph, Limits, compile_graph

LARGE_DEFINITION = 128 * 1024
"""Above this size a definition is compiled in a thread, so that it does not stall other runs; it is not kept."""

MAX_KEPT_BYTES = 1 << 20
"""How long the definitions of the graphs that are kept are together; a graph takes some twenty times as much."""


class Compiler:
    """Graphs by their definitions, and their nodes made ready. A graph never changes, so that runs can share it."""

    def __init__(self, catalog: Catalog, limits: Limits) -> None:
        self._catalog = catalog
        self._limits = limits
        self._graphs: OrderedDict[bytes, Graph] = OrderedDict()
        self._kept_bytes = 0
        self._prepared: WeakKeyDictionary[Graph, Sequence[PreparedNode]] = WeakKeyDictionary()

    async def compile(self, definition: bytes) -> Graph:
        """The graph of a definition. Raises InvalidWorkflow with every fault."""
        if len(definition) > LARGE_DEFINITION:
            return await asyncio.to_thread(compile_graph, definition, self._catalog, self._limits)
        graph = self._graphs.get(definition)
        if graph is None:
            graph = compile_graph(definition, self._catalog, self._limits)
            self._keep(definition, graph)
        else:
            self._graphs.move_to_end(definition)
        return graph

    def prepared(self, graph: Graph) -> Sequence[PreparedNode]:
        """By index, what each node of a graph runs."""
        prepared = self._prepared.get(graph)
        if prepared is None:
            prepared = self._prepared[graph] = PreparedNode.all(graph.nodes, self._catalog)
        return prepared

    def _keep(self, definition: bytes, graph: Graph) -> None:
        self._graphs[definition] = graph
        self._kept_bytes += len(definition)
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= len(self._graphs.popitem(last=False)[0])
