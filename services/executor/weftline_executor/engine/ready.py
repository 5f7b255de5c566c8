"""The nodes of a run that could start: the one with the longest path ahead first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice


class ReadyQueue:
    """Ready nodes by index; those with as long a path `ahead` in the order in which they came.

    A node that is taken out in between is passed over when its turn comes.
    """

    def __init__(self, ahead: Sequence[float]) -> None:
        self._ahead = ahead
        self._heap: list[tuple[float, int, int]] = []
        self._pushed = 0
        self._waiting: dict[int, None] = {}
        self._unannounced: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, node: int) -> None:
        """Adds a node."""
        self._pushed += 1
        self._waiting[node] = None
        self._unannounced[node] = None
        heapq.heappush(self._heap, (-self._ahead[node], self._pushed, node))

    def pop(self) -> int:
        """Takes the first node; there must be one."""
        while True:
            node = heapq.heappop(self._heap)[2]
            if node in self._waiting:
                self.take_out(node)
                return node

    def take_out(self, node: int) -> bool:
        """Takes a node out; gives whether it was there."""
        if node not in self._waiting:
            return False
        del self._waiting[node]
        self._unannounced.pop(node, None)
        return True

    def first(self, limit: int) -> list[int]:
        """About the first `limit` nodes."""
        return [node for _, _, node in self._heap[:limit] if node in self._waiting]

    def line(self) -> list[int]:
        """All nodes in the order in which they would be taken."""
        # Sorted, the heap is still one; and it is nearly sorted the next time.
        self._heap.sort()
        placed = dict.fromkeys(node for _, _, node in self._heap if node in self._waiting)
        return list(placed)

    def announce(self, limit: int) -> list[int]:
        """Gives nodes that wait, each once, in the order in which they came; no more than `limit` at a time."""
        announced = list(islice(self._unannounced, limit))
        for node in announced:
            del self._unannounced[node]
        return announced

    def clear(self) -> list[int]:
        """Takes all nodes out."""
        waiting = list(self._waiting)
        self._heap.clear()
        self._waiting.clear()
        self._unannounced.clear()
        return waiting
