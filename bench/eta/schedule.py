"""The least time that a graph of known durations can be expected to take: written apart from the executor's own."""

from __future__ import annotations

from collections.abc import Sequence

Edge = tuple[int, int]


def _children(count: int, edges: Sequence[Edge]) -> list[list[int]]:
    children: list[list[int]] = [[] for _ in range(count)]
    for parent, child in edges:
        children[parent].append(child)
    return children


def tails(durations: Sequence[float], edges: Sequence[Edge]) -> list[float]:
    """By node: how long the longest path from its start to an end takes."""
    children = _children(len(durations), edges)
    found: dict[int, float] = {}
    stack = list(range(len(durations)))
    while stack:
        node = stack[-1]
        open_children = [child for child in children[node] if child not in found]
        if open_children:
            stack += open_children
            continue
        stack.pop()
        found[node] = durations[node] + max((found[child] for child in children[node]), default=0.0)
    return [found[node] for node in range(len(durations))]


def critical_path(durations: Sequence[float], edges: Sequence[Edge]) -> float:
    """How long the longest path takes: no schedule is shorter."""
    return max(tails(durations, edges))


def makespan(durations: Sequence[float], edges: Sequence[Edge], slots: int) -> float:
    """How long it takes when each free slot takes the ready node with the longest path ahead at once.

    Graham, "Bounds on Multiprocessing Timing Anomalies", 1969, with the order of Hu's and critical-path scheduling.
    """
    children, ahead = _children(len(durations), edges), tails(durations, edges)
    missing = [0] * len(durations)
    for _, child in edges:
        missing[child] += 1
    ready = [node for node, count in enumerate(missing) if not count]
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        ready.sort(key=lambda node: ahead[node])
        while ready and len(running) < slots:
            node = ready.pop()
            running.append((now + durations[node], node))
        now = min(end for end, _ in running)
        ended = [node for end, node in running if end <= now]
        running = [each for each in running if each[0] > now]
        for child in (child for node in ended for child in children[node]):
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    return now
