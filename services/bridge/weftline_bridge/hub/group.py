"""Some readers who get alike what is published: written to in one go, and booked once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from weftline_bridge.frames import Batch, Delivery, Dialect, Wire
from weftline_bridge.hub.flushing import Flushable
from weftline_bridge.recorder import Ledger, Tape

MOST_READERS = 128
"""So that others get their turn between the groups, and what comes meanwhile goes with the later ones."""


class Reader(Protocol):
    """Someone to whom messages are delivered."""

    @property
    def dialect(self) -> Dialect:
        """The dialect in which it understands messages."""

    @property
    def straight(self) -> bool:
        """Whether nothing waits for it, so that one may write to `fd`, if `keep` gets what is left over."""

    @property
    def fd(self) -> int:
        """The descriptor of its socket."""

    def keep(self, data: bytes, written: int) -> None:
        """Take what its socket did not take of `data`, which is all but the first `written` bytes."""

    @property
    def tape(self) -> Tape:
        """Where it is booked what was written."""

    def offer(self, batch: Batch) -> None:
        """Take a batch for this reader in particular, without waiting and without failing."""

    def take(self, delivery: Delivery) -> None:
        """Take what it has in common with many others, after all that it was offered; as `offer` else."""

    async def room(self) -> None:
        """Return when all that was offered has been handed to its socket."""

    @property
    def cut_off(self) -> Collection[str]:
        """The workflows whose events it does not take any more, because it is too slow, until `reopen`."""

    def reopen(self, workflow_id: str) -> None:
        """Take the events of a workflow again."""


class Turns(Protocol):
    """Who has what was published written to the readers, turn by turn."""

    def mark(self, item: Flushable) -> None:
        """Flush `item` at the end of this turn."""

    def queue(self, item: Flushable) -> None:
        """Flush `item` after all that is queued."""

    def share(self, batches: list[Batch]) -> Delivery:
        """A delivery of `batches`, the same one for all groups that ask in a row."""

    def account(self, wire: Wire) -> None:
        """Count what was written of a wire."""

    def write(self, fd: int, data: bytes, /) -> int:
        """Write to a socket without waiting: how many bytes it took. Raises OSError when it takes none, or is gone."""


class Group:
    """Some readers of one view and one dialect, in the order in which they came.

    The clock is in ms since the Unix epoch.
    """

    __slots__ = ("_clock", "_ledger", "_pending", "_turns", "dialect", "readers")

    def __init__(self, dialect: Dialect, turns: Turns, clock: Callable[[], int]) -> None:
        self.dialect = dialect
        self.readers: dict[Reader, None] = {}
        self._turns = turns
        self._clock = clock
        self._pending: list[Batch] = []
        self._ledger = Ledger()

    def add(self, reader: Reader) -> None:
        """Add a reader, unless it is here."""
        if reader not in self.readers:
            self.readers[reader] = None
            reader.tape.follow(self._ledger)

    def remove(self, reader: Reader) -> None:
        """Remove a reader that is here."""
        del self.readers[reader]
        reader.tape.unfollow(self._ledger)

    def push(self, batches: Sequence[Batch]) -> None:
        """Have batches written to all readers when it is this group's turn."""
        if not self._pending:
            self._turns.queue(self)
        self._pending += batches

    def flush(self) -> None:
        """Write what was pushed, now."""
        if self._pending:
            batches, self._pending = self._pending, []
            self._write(self._turns.share(batches))

    def _write(self, delivery: Delivery) -> None:
        wire = delivery.wire(self.dialect)
        data, size = wire.data, wire.size
        if not data:
            return
        ledger, write = self._ledger, self._turns.write
        ledger.book(wire, self._clock())
        apart: list[Reader] = []
        # This is run for every event and every reader, with nothing of it in the processor's cache: it touches no
        # object but the reader. What else is to be kept of a write the ledger keeps for all.
        for reader in self.readers:
            if not reader.straight:
                apart.append(reader)
                continue
            try:
                written = write(reader.fd, data)
            except OSError:
                written = 0
            if written != size:
                reader.keep(data, written)
        wire.deliveries += len(self.readers) - len(apart)
        for reader in apart:
            reader.tape.missed(ledger)
            reader.take(delivery)
        self._turns.account(wire)
        if ledger.full:
            for reader in self.readers:
                reader.tape.settle()
            ledger.forget()
