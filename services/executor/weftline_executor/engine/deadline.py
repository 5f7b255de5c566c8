"""The deadline of a run: how long it may be active, measured by a clock that nobody sets."""

from __future__ import annotations

from collections.abc import Callable

from weftline_executor.engine.timers import RUN, RunTimers

DEADLINE = "deadline"
"""The code of a run that was active for too long."""


class Deadline:
    """Ends a run that has been active for `limit` seconds; 0 is no limit, and what it is paused for is free.

    `spent` is for how many seconds it was active in earlier lives of the executor, by the only clock that outlives one.
    """

    def __init__(self, timers: RunTimers, limit: float, spent: float) -> None:
        self._timers = timers
        self._limit = limit
        self._spent = spent
        self._since: float | None = None

    def active(self, active: bool, overrun: Callable[[], None]) -> None:
        """The run is active from now on, or is not; calls `overrun` when it has been for too long."""
        if not self._limit:
            return
        if active and self._since is None:
            self._since = self._timers.time()
            self._timers.start(DEADLINE, RUN, self._limit - self._spent, overrun)
        elif not active and self._since is not None:
            self._spent += self._timers.time() - self._since
            self._since = None
            self._timers.cancel(DEADLINE, RUN)
