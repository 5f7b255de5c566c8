"""Group commit: everything that all runs have to say in one turn goes to disk in one transaction, before it is seen."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from weftline_executor.errors import BatchRefused, StoreUnavailable
from weftline_executor.metrics import Metrics
from weftline_executor.model.records import Batch
from weftline_executor.store import Store
from weftline_executor.store.batches import started

RETRY_SECONDS = 1.0

BURST_RUNS = 8
BURST_SECONDS = 0.002
"""So long the next commit waits after one of so many runs of which some began: more are about to, and go with it.

Runs that are started together come one by one. If each commit took the few that had come, most of the CPU time would go
into commits.
"""

_log = logging.getLogger(__name__)


class Writer(Protocol):
    """Who has events to commit."""

    def take(self) -> Batch:
        """Hands over what waits; called only after `mark`."""
        ...


class Committer:
    """Commits what writers have marked, one transaction at a time, and hands the durable batches to `on_committed`.

    `tell` is given the same batches when what `on_committed` made of them is on its way to the disk, or nothing is: the
    disk is what the next nodes wait for, and watchers need not hold it up. Nothing else happens between the two. Where
    many runs begin, they are told at once, and the next commit waits a moment.
    When the store can't write, `on_failure` is told and the same batches are tried again every second; nothing new is
    taken meanwhile, so the runs stand still. `healthy` says whether the last try succeeded. `on_refused` is told of
    batches that the store will never take, which are let go.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        on_committed: Callable[[Sequence[Batch]], None],
        tell: Callable[[Sequence[Batch]], None],
        on_failure: Callable[[StoreUnavailable], None],
        on_refused: Callable[[BatchRefused], None],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._on_committed = on_committed
        self._tell = tell
        self._on_failure = on_failure
        self._on_refused = on_refused
        self._marked: list[Writer] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.healthy = True

    def mark(self, writer: Writer) -> None:
        """Notes that `writer` has events; a writer marks itself once until they are taken."""
        self._marked.append(writer)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Commits until cancelled."""
        untold: Sequence[Batch] = ()
        while True:
            if not self._marked:
                self._tell(untold)
                untold = ()
                self._idle.set()
                await self._wake.wait()
            elif len(untold) >= BURST_RUNS and any(map(started, untold)):
                self._tell(untold)
                untold = ()
                await asyncio.sleep(BURST_SECONDS)
            self._wake.clear()
            marked, self._marked = self._marked, []
            batches = [writer.take() for writer in marked]
            appending = self._store.append(batches)
            self._tell(untold)
            untold = await self._stored(batches, appending)
            self._on_committed(untold)

    async def drained(self) -> None:
        """Waits until nothing is left to commit."""
        await self._idle.wait()

    async def _stored(self, batches: Sequence[Batch], appending: Awaitable[Sequence[Batch]]) -> Sequence[Batch]:
        begun = time.perf_counter()
        while True:
            try:
                stored = await appending
            except StoreUnavailable as error:
                if self.healthy:
                    _log.error("cannot write events, trying again every %.0f s: %s", RETRY_SECONDS, error)
                self.healthy = False
                self._metrics.commit_failures.inc()
                self._on_failure(error)
                await asyncio.sleep(RETRY_SECONDS)
                begun = time.perf_counter()
                appending = self._store.append(batches)
                continue
            except BatchRefused as error:
                # The log will never take these; the batches of other workflows must not wait for them.
                self._on_refused(error)
                batches = [batch for batch in batches if batch.workflow_id not in error.workflow_ids]
                appending = self._store.append(batches)
                continue
            if not self.healthy:
                _log.warning("events are written again")
            self.healthy = True
            self._metrics.commit_seconds.observe(time.perf_counter() - begun)
            self._metrics.commit_events.observe(sum(len(batch.events) for batch in batches))
            return stored
