"""The events of one run that wait for their commit, and those who wait for them."""

from __future__ import annotations

import asyncio

from weftline_executor.engine.commit import Committer
from weftline_executor.model.events import Event
from weftline_executor.model.records import Batch, Command


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
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._marked = False

    def __len__(self) -> int:
        return len(self._events)

    def next_seq(self) -> int:
        """Takes the next seq."""
        if not self._marked:
            self._marked = True
            self._committer.mark(self)
        self._seq += 1
        return self._seq

    def append(self, event: Event) -> None:
        """Adds the event whose seq was taken last."""
        self._events.append(event)

    def note(self, command_id: str, name: str, seq: int) -> None:
        """Ties a command to the event that it caused, so that it is known when it comes again."""
        if command_id:
            self._commands.append(Command(command_id, name, seq))

    def take(self) -> Batch:
        """See Writer."""
        batch = Batch(self._workflow_id, self._run_id, tuple(self._events), tuple(self._commands))
        self._events.clear()
        self._commands.clear()
        self._marked = False
        return batch

    async def durable(self, seq: int) -> None:
        """Waits until `committed` was told of this seq."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((seq, waiter))
        await waiter

    def committed(self, seq: int) -> None:
        """Wakes whoever waits for an event up to `seq`."""
        if not self._waiters:
            return
        for wanted, waiter in self._waiters:
            if wanted <= seq and not waiter.done():
                waiter.set_result(None)
        self._waiters = [entry for entry in self._waiters if entry[0] > seq]
