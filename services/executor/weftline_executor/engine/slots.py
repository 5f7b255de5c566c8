"""The executor's limit on nodes that run at once, shared fairly among runs."""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """`limit` slots for running nodes; who finds none free is called when one is, in turn."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot."""
        return len(self._waiting)

    def acquire(self, when_free: Callable[[], None]) -> bool:
        """Takes a slot; with none free, notes the caller and gives False."""
        if self.used < self.limit:
            self.used += 1
            return True
        self._waiting.setdefault(when_free)
        return False

    def release(self) -> None:
        """Gives a slot back and wakes the run that has waited longest."""
        self.used -= 1
        if self._waiting:
            when_free = next(iter(self._waiting))
            del self._waiting[when_free]
            when_free()

    def forget(self, when_free: Callable[[], None]) -> None:
        """A run waits no longer."""
        self._waiting.pop(when_free, None)
