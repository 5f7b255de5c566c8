"""Lays a graph out by level, so that a canvas can draw it from left to right."""

from collections.abc import Sequence
from typing import Final

COLUMN: Final = 260
ROW: Final = 90


class CycleError(Exception):
    """The graph has a cycle; `nodes` are the indices of the nodes on it, in the order of the edges."""

    def __init__(self, nodes: Sequence[int]) -> None:
        super().__init__("the graph has a cycle")
        self.nodes = tuple(nodes)


def levels(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the level of each of `count` nodes: the length of the longest path that leads to it, 0 for a root.

    Raises CycleError when there is no such length.
    """
    children: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for parent, child in edges:
        children[parent].append(child)
        missing[child] += 1
    level = [0] * count
    ready = [node for node in range(count) if not missing[node]]
    for node in ready:
        for child in children[node]:
            level[child] = max(level[child], level[node] + 1)
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    if len(ready) < count:
        raise CycleError(_cycle(edges, {node for node in range(count) if missing[node]}))
    return level


def positions(count: int, edges: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Return where to draw each node: x by its level, y beside its parents, each level centred on y 0."""
    level = levels(count, edges)
    parents: list[list[int]] = [[] for _ in range(count)]
    for parent, child in edges:
        parents[child].append(parent)
    columns: dict[int, list[int]] = {}
    for node in range(count):
        columns.setdefault(level[node], []).append(node)
    at = [(0.0, 0.0)] * count
    for depth in sorted(columns):
        column = columns[depth]
        height = {node: _mean([at[parent][1] for parent in parents[node]]) for node in column}
        column.sort(key=lambda node: (height[node], node))
        for row, node in enumerate(column):
            at[node] = (float(depth * COLUMN), (row - (len(column) - 1) / 2) * ROW)
    return at


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _cycle(edges: Sequence[tuple[int, int]], stuck: set[int]) -> list[int]:
    """Return one cycle among nodes each of which has a parent among them."""
    parent_of = {child: parent for parent, child in edges if child in stuck and parent in stuck}
    node = next(iter(parent_of))
    seen: dict[int, None] = {}
    while node not in seen:
        seen[node] = None
        node = parent_of[node]
    path = list(seen)
    return path[path.index(node) :][::-1]
