"""How often something may happen: token buckets, which hold no clock."""

from __future__ import annotations

from enum import Enum, auto


class RateLimit:
    """A token bucket: `rate` times a second on average, and up to `burst` at once. It begins full."""

    __slots__ = ("_burst", "_filled_at", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._left = max(1.0, burst)
        self._filled_at: float | None = None

    def take(self, now: float) -> bool:
        """Whether it may happen once more at the time `now` (seconds of any clock that does not go back)."""
        if self._filled_at is not None and now > self._filled_at:
            self._left = min(self._burst, self._left + (now - self._filled_at) * self._rate)
        if self._filled_at is None or now > self._filled_at:
            self._filled_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    @property
    def pause(self) -> float:
        """Seconds until it may happen again, as of the last `take`."""
        return max(0.0, (1.0 - self._left) / self._rate)


class Appointments:
    """When those who were turned away may come back: one after another at `rate` a second, so that there is room then.

    Who would have to wait for more than `longest` seconds is not given a time of its own.
    """

    __slots__ = ("_last", "_longest", "_rate")

    def __init__(self, rate: float, longest: float) -> None:
        self._rate = rate
        self._longest = longest
        self._last = float("-inf")

    def next(self, now: float) -> float:
        """For how many seconds from `now` on the next one has to wait, at most the longest time."""
        wanted = max(self._last, now) + 1 / self._rate
        if wanted - now > self._longest:
            return self._longest
        self._last = wanted
        return wanted - now


class Verdict(Enum):
    """What becomes of a command."""

    CARRY_OUT = auto()
    REFUSE = auto()
    DISCONNECT = auto()


class CommandRate:
    """The commands of one connection: those over the rate are refused, and who goes on for long is disconnected.

    Refused commands have a bucket of the same size. A client that stops when it is told to never empties it.
    """

    __slots__ = ("_allowed", "_refused")

    def __init__(self, rate: float, burst: float) -> None:
        self._allowed = RateLimit(rate, burst)
        self._refused = RateLimit(rate, burst)

    def take(self, now: float) -> Verdict:
        """What becomes of a command at the time `now`, in seconds."""
        if self._allowed.take(now):
            return Verdict.CARRY_OUT
        return Verdict.REFUSE if self._refused.take(now) else Verdict.DISCONNECT

    @property
    def pause(self) -> float:
        """Seconds until a command is carried out again."""
        return self._allowed.pause
