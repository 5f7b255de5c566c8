"""The executor's limit on nodes that run at once, shared fairly among runs."""

from __future__ import annotations

from collections.abc import Callable

Wake = Callable[[], None]


class Slots:
    """`limit` slots for running nodes.

    Who finds none free waits in turn. A slot that is given back is kept for the one that has waited longest, who is
    woken and then either acquires it or passes it on; so a run with many ready nodes can't keep all slots to itself.
    Once it is `closed`, nobody should ask any more.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.closed = False
        self._waiting: dict[Wake, None] = {}
        self._kept: set[Wake] = set()

    @property
    def waiting(self) -> int:
        """How many runs wait for a slot."""
        return len(self._waiting)

    def most_of(self, concurrency: int) -> int:
        """How many nodes of a run can run at once at most; its `concurrency` 0 means no limit of its own."""
        return min(concurrency or self.limit, self.limit)

    def acquire(self, wake: Wake) -> bool:
        """Takes a slot; with none free for the caller, who is known by `wake`, notes it and gives False."""
        if wake in self._kept:
            self._kept.remove(wake)
            return True
        if self.used < self.limit:
            self.used += 1
            return True
        self._waiting.setdefault(wake)
        return False

    def waits(self, wake: Wake) -> bool:
        """Whether a run, known by `wake`, waits for a slot that has not come."""
        return wake in self._waiting

    def release(self) -> None:
        """Gives a slot back."""
        if not self._waiting:
            self.used -= 1
            return
        wake = next(iter(self._waiting))
        del self._waiting[wake]
        self._kept.add(wake)
        wake()

    def pass_on(self, wake: Wake) -> None:
        """Gives back the slot that is kept for a run, if it was woken and did not acquire it."""
        if wake in self._kept:
            self._kept.remove(wake)
            self.release()

    def close(self) -> None:
        """Lets nothing more start."""
        self.closed = True

    def forget(self, wake: Wake) -> None:
        """A run wants no slot any more."""
        self._waiting.pop(wake, None)
        self.pass_on(wake)
