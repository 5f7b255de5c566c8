"""The nodes of a run that could start: the one with the longest path ahead first."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

_GONE, _NEW, _ANNOUNCED = range(3)


class ReadyQueue:
    """Ready nodes by index; those with as long a path `ahead` in the order in which they came.

    A node that is taken out in between is passed over when its turn comes. In a wide graph most nodes are ready at
    once, so there is no object for each: those with as long a path are in one line.
    """

    def __init__(self, ahead: Sequence[float]) -> None:
        self._ahead = ahead
        self._lines: dict[float, deque[int]] = {}
        self._longest: list[float] = []
        self._states = bytearray(len(ahead))
        self._waiting = 0
        self._unannounced: deque[int] = deque()

    def __len__(self) -> int:
        return self._waiting

    def push(self, node: int) -> None:
        """Adds a node."""
        ahead = self._ahead[node]
        line = self._lines.get(ahead)
        if line is None:
            line = self._lines[ahead] = deque()
            heapq.heappush(self._longest, -ahead)
        line.append(node)
        if not self._states[node]:
            self._waiting += 1
        self._states[node] = _NEW
        self._unannounced.append(node)

    def pop(self) -> int:
        """Takes the first node; there must be one."""
        while True:
            ahead = -self._longest[0]
            line = self._lines[ahead]
            node = line.popleft()
            if not line:
                del self._lines[ahead]
                heapq.heappop(self._longest)
            if self._states[node]:
                self._remove(node)
                return node

    def take_out(self, node: int) -> bool:
        """Takes a node out; gives whether it was there."""
        if not self._states[node]:
            return False
        self._remove(node)
        return True

    def first(self, limit: int) -> list[int]:
        """The first `limit` nodes."""
        return list(islice(self._in_line(), limit))

    def line(self) -> list[int]:
        """All nodes in the order in which they would be taken."""
        return list(dict.fromkeys(self._in_line()))

    def announce(self, limit: int) -> list[int]:
        """Gives nodes that wait, each once, in the order in which they came; no more than `limit` at a time."""
        announced: list[int] = []
        while self._unannounced and len(announced) < limit:
            node = self._unannounced.popleft()
            if self._states[node] == _NEW:
                self._states[node] = _ANNOUNCED
                announced.append(node)
        return announced

    def clear(self) -> list[int]:
        """Takes all nodes out."""
        waiting = self.line()
        for node in waiting:
            self._states[node] = _GONE
        self._waiting = 0
        self._lines.clear()
        self._longest.clear()
        self._unannounced.clear()
        return waiting

    def _in_line(self) -> Iterator[int]:
        """The nodes in their order; one that was taken out and came again may be there twice."""
        for ahead in sorted(self._lines, reverse=True):
            yield from (node for node in self._lines[ahead] if self._states[node])

    def _remove(self, node: int) -> None:
        states, unannounced = self._states, self._unannounced
        states[node] = _GONE
        self._waiting -= 1
        while unannounced and states[unannounced[0]] != _NEW:
            unannounced.popleft()
