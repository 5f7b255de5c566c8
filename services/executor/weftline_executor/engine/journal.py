"""The events of one run that wait for their commit, and those who wait for them."""

from __future__ import annotations

import asyncio

from weftline_executor.engine.commit import Committer
from weftline_executor.model.events import Event
from weftline_executor.model.records import Batch, Command

MAX_EVENTS = 4096
MAX_BYTES = 8 << 20


class Journal:
    """Numbers the events of a run and hands them to the committer in batches.

    Use: `append(Kind(journal.next_seq(), ...))`; every seq that was taken must be appended before the turn ends.
    """

    def __init__(self, committer: Committer, workflow_id: str, run_id: str, head: int) -> None:
        self._committer = committer
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._seq = head
        self._events: list[Event] = []
        self._commands: list[Command] = []
        self._undurable: dict[str, Command] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._bytes = 0
        self._marked = False

    def __len__(self) -> int:
        return len(self._events)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing should be added that can wait too."""
        return len(self._events) >= MAX_EVENTS or self._bytes >= MAX_BYTES

    def next_seq(self) -> int:
        """Takes the next seq."""
        if not self._marked:
            self._marked = True
            self._committer.mark(self)
        self._seq += 1
        return self._seq

    def append(self, event: Event, size: int = 0) -> None:
        """Adds the event whose seq was taken last; `size` is that of the free data in it, in bytes."""
        self._events.append(event)
        self._bytes += size

    def note(self, command_id: str, name: str, seq: int) -> None:
        """Ties a command to the event that it caused, so that it is known when it comes again."""
        if command_id:
            command = Command(command_id, name, seq)
            self._commands.append(command)
            self._undurable[command_id] = command

    def undurable(self, command_id: str) -> Command | None:
        """A command that was noted and is not durable yet."""
        return self._undurable.get(command_id)

    def take(self) -> Batch:
        """See Writer."""
        batch = Batch(self._workflow_id, self._run_id, tuple(self._events), tuple(self._commands))
        self._events.clear()
        self._commands.clear()
        self._bytes = 0
        self._marked = False
        return batch

    async def durable(self, seq: int) -> None:
        """Waits until `committed` was told of this seq."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((seq, waiter))
        await waiter

    def unwritable(self, error: Exception) -> None:
        """Tells whoever waits that the log fails; what they wait for may still become durable later."""
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    def committed(self, seq: int) -> None:
        """Wakes whoever waits for an event up to `seq`."""
        if self._undurable:
            self._undurable = {key: command for key, command in self._undurable.items() if command.seq > seq}
        if not self._waiters:
            return
        for wanted, waiter in self._waiters:
            if wanted <= seq and not waiter.done():
                waiter.set_result(None)
        self._waiters = [entry for entry in self._waiters if entry[0] > seq]
