"""Writes that many connections get alike: booked once for all of them, in place of once for each."""

from __future__ import annotations

from typing import NamedTuple

from weftline_bridge.frames import Moment, Wire
from weftline_bridge.recorder.records import Record, fold

_MOST_WRITES = 64
_MOST_SPANS = 256


class Share(NamedTuple):
    """What a connection got of it: how many messages and bytes, and what is recorded of that."""

    messages: int
    size: int
    records: list[Record]


class _Entry(NamedTuple):
    messages: int
    size: int
    moment: Moment


class Ledger:
    """The newest writes to a group of connections, in order; the next one will be at the place `end`.

    A connection remembers up to which place it has drawn its share. It does so when something else is written to it
    or asked about it, and when the ledger is `full`; then what was booked is forgotten.
    """

    __slots__ = ("_begin", "_entries", "_spans", "_whole", "end")

    def __init__(self) -> None:
        self.end = 0
        self._begin = 0
        self._spans = 0
        self._entries: list[_Entry] = []
        self._whole: Share | None = None

    @property
    def full(self) -> bool:
        """Whether it is time that all connections draw their shares."""
        return len(self._entries) >= _MOST_WRITES or self._spans >= _MOST_SPANS

    def book(self, wire: Wire, at: int) -> None:
        """Book a write at `at` (ms since the Unix epoch)."""
        spans = wire.spans
        self._entries.append(_Entry(wire.count, wire.size, Moment(at, spans)))
        self._spans += len(spans)
        self._whole = None
        self.end += 1

    def share(self, first: int, end: int) -> Share:
        """What was booked at the places from `first` on and before `end`."""
        if first != self._begin or end != self.end:
            return _sum(self._entries[first - self._begin : end - self._begin])
        # Most connections draw the same: it is worked out for the first of them.
        if self._whole is None:
            self._whole = _sum(self._entries)
        return self._whole

    def forget(self) -> None:
        """Forget what was booked, as all connections have drawn their shares."""
        self._entries.clear()
        self._begin, self._spans, self._whole = self.end, 0, None


def _sum(entries: list[_Entry]) -> Share:
    messages = sum([entry.messages for entry in entries])
    size = sum([entry.size for entry in entries])
    return Share(messages, size, fold([entry.moment for entry in entries]))
