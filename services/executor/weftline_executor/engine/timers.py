"""The timers of one run: what is due, and what takes too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from weftline_executor.engine.attempt import Attempt
from weftline_executor.graph.policy import Timeouts

RUN = -1
"""Stands for the run itself among the timers of its nodes."""


class RunTimers:
    """Named timers of a run, by node or for the run as a whole; all are gone after `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timers: dict[tuple[str, int], asyncio.TimerHandle] = {}

    def time(self) -> float:
        """The time by which timers run, in seconds; it only goes forward, whatever the wall clock does."""
        return self._loop.time()

    def start(self, name: str, node: int, seconds: float, action: Callable[[], None]) -> None:
        """Calls `action` after `seconds`, instead of what the timer of this name and node was to do."""
        self.cancel(name, node)

        def fire() -> None:
            del self._timers[name, node]
            action()

        self._timers[name, node] = self._loop.call_later(max(0.0, seconds), fire)

    def cancel(self, name: str, node: int) -> None:
        """Forgets a timer, if there is one."""
        timer = self._timers.pop((name, node), None)
        if timer is not None:
            timer.cancel()

    def nodes(self, name: str) -> list[int]:
        """The nodes with a timer of this name."""
        return [node for timer, node in self._timers if timer == name]

    def close(self) -> None:
        """Forgets all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def watch(self, attempt: Attempt, timeouts: Timeouts, expire: Callable[[str, float], None]) -> None:
        """Calls `expire` with `attempt` or `idle` and the limit when the attempt takes, or is silent for, too long."""
        if timeouts.attempt:
            self.start("attempt", attempt.index, timeouts.attempt, lambda: expire("attempt", timeouts.attempt))
        if timeouts.idle:
            self._watch_idle(attempt, timeouts.idle, timeouts.idle, expire)

    def unwatch(self, attempt: Attempt) -> None:
        """The attempt has ended."""
        if self._timers:
            self.cancel("attempt", attempt.index)
            self.cancel("idle", attempt.index)

    def _watch_idle(self, attempt: Attempt, limit: float, seconds: float, expire: Callable[[str, float], None]) -> None:
        def look() -> None:
            silent = time.monotonic() - attempt.heard
            if silent >= limit:
                expire("idle", limit)
            else:
                self._watch_idle(attempt, limit, limit - silent, expire)

        self.start("idle", attempt.index, seconds, look)
