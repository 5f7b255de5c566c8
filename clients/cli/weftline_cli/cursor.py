"""Keeps a place in the durable events of one workflow, and lets nothing through with a hole or twice."""

from dataclasses import dataclass


class OrderError(Exception):
    """A durable event came that does not follow the last one; the place before it is kept."""

    what = "events came out of order"

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"expected seq {expected}, got {found}")
        self.expected = expected
        self.found = found

    @property
    def problem(self) -> str:
        """What happened, as a sentence without its beginning."""
        return f"{self.what} ({self})."


class GapError(OrderError):
    """Durable events are missing between `expected` and `found`."""

    what = "events are missing"


class RepeatError(OrderError):
    """The event `found` came again where `expected` was next."""

    what = "an event came twice"


@dataclass(slots=True)
class Cursor:
    """The last durable event that was taken: its log's `epoch`, and its `seq`."""

    epoch: str
    seq: int

    def take(self, seq: int) -> None:
        """Move to the next event. Raises GapError or RepeatError, and stays, when `seq` is not the next."""
        if seq > self.seq + 1:
            raise GapError(self.seq + 1, seq)
        if seq <= self.seq:
            raise RepeatError(self.seq + 1, seq)
        self.seq = seq

    def skip(self, first: int, last: int) -> None:
        """Move behind events that are not coming; raises GapError when others are missing before `first`.

        A part of them that was taken already changes nothing.
        """
        if first > self.seq + 1:
            raise GapError(self.seq + 1, first)
        self.seq = max(self.seq, last)

    def reach(self, head: int) -> None:
        """Check that nothing is missing up to `head`; raises GapError when something is."""
        if head > self.seq:
            raise GapError(self.seq + 1, head)
