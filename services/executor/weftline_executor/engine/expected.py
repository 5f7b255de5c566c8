"""How long each node of a graph is expected to take, from what was measured and what its configuration says."""

from __future__ import annotations

from weftline_executor.engine.estimate import DurationHistory
from weftline_executor.engine.launch import Catalog
from weftline_executor.graph import Graph


def expected_durations(graph: Graph, catalog: Catalog, history: DurationHistory) -> list[float | None]:
    """By node, in ms: the median of its kind, else what its configuration says, else the median of its type.

    None where nothing is known, and 0 for a node that is disabled.
    """
    known: dict[tuple[str, bytes], float | None] = {}
    for node in graph.nodes:
        if node.kind in known:
            continue
        node_type = catalog.get(node.type)
        if node.policy.disabled:
            known[node.kind] = 0.0
            continue
        expected = history.of_kind(node.kind)
        if expected is None and node_type is not None:
            expected = node_type.expected_ms(node.data)
        known[node.kind] = history.of_type(node.type) if expected is None else expected
    return [known[node.kind] for node in graph.nodes]
