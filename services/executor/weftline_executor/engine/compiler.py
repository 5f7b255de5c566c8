"""Compiles definitions into graphs, and keeps what the newest gave: most workflows are run again and again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from weftline_executor.engine.launch import Catalog, PreparedNode
from weftline_executor.graph import Graph, Limits, compile_graph

LARGE_DEFINITION = 128 * 1024
"""Above this size a definition is compiled in a thread, so that it does not stall other runs."""

MAX_KEPT_BYTES = 1 << 20
"""How long the definitions of the graphs that are kept are together; a graph takes some twenty times as much."""

LARGEST_SHARE = 4
"""No graph is kept whose definition is over one part in so many of that: it would push out too many others."""


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
        kept = len(definition) * LARGEST_SHARE <= MAX_KEPT_BYTES
        graph = self._graphs.get(definition) if kept else None
        if graph is not None:
            self._graphs.move_to_end(definition)
            return graph
        if len(definition) > LARGE_DEFINITION:
            graph = await asyncio.to_thread(compile_graph, definition, self._catalog, self._limits)
        else:
            graph = compile_graph(definition, self._catalog, self._limits)
        if kept:
            self._keep(definition, graph)
        return graph

    def prepared(self, graph: Graph) -> Sequence[PreparedNode]:
        """By index, what each node of a graph runs."""
        prepared = self._prepared.get(graph)
        if prepared is None:
            prepared = self._prepared[graph] = PreparedNode.all(graph.nodes, self._catalog)
        return prepared

    def _keep(self, definition: bytes, graph: Graph) -> None:
        if definition not in self._graphs:  # one that was compiled in a thread may be there by now
            self._kept_bytes += len(definition)
        self._graphs[definition] = graph
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= len(self._graphs.popitem(last=False)[0])
