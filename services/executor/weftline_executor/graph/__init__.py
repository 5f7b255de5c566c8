"""Workflow graphs: parsing what a canvas holds, finding all that is wrong with it, and walking it."""

from weftline_executor.graph.definition import EdgeDef, NodeDef, RunConfig, node_ids
from weftline_executor.graph.frontier import Frontier, Outcome, Resolution
from weftline_executor.graph.joins import Verdict
from weftline_executor.graph.topology import Graph
from weftline_executor.graph.validate import Limits, compile_graph

__all__ = [
    "EdgeDef",
    "Frontier",
    "Graph",
    "Limits",
    "NodeDef",
    "Outcome",
    "Resolution",
    "RunConfig",
    "Verdict",
    "compile_graph",
    "node_ids",
]
