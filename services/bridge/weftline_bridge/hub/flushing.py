"""Writes what the turns of the loop brought, slice by slice, and looks after connections that are slow."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import Protocol

from weftline_bridge.frames import Batch, Delivery, Wire
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.metrics import Metrics

SLOW_POLL = 0.05

SLICE = 0.001
"""After so many seconds of writing the loop gets its turn."""

MOST_CREDIT = 0.02
"""For so many seconds writing may go on without a rest."""


class Flushable(Protocol):
    """Something that has messages to hand to sockets."""

    def flush(self) -> None:
        """Hand over what waits."""


class Connection(Flushable, Protocol):
    """A connection as the flusher sees it."""

    def poll(self, now: float) -> bool:
        """Try again to write to a slow socket; whether it is still slow."""


class _EndOfTurn:
    """Stands in the queue behind all that a turn brought, and observes how long that took."""

    def __init__(self, metrics: Metrics, started: float, arrived: float, happened_ms: int) -> None:
        self._metrics = metrics
        self._started, self._arrived, self._happened = started, arrived, happened_ms

    def flush(self) -> None:
        """See the class."""
        ended = time.monotonic()
        self._metrics.fanout.observe(ended - self._started)
        if self._arrived:
            self._metrics.latency_arrival.observe(ended - self._arrived)
            if self._happened:
                self._metrics.latency_executor.observe(max(0.0, time.time() - self._happened / 1000))


class Flusher:
    """Collects what has something to write, and has it written: at the end of a turn, but slice by slice.

    What is marked is flushed once a turn, and may queue more, such as the groups of a feed's readers. After a slice of
    the queue the loop gets its turn, so that nobody waits for a whole walk over many readers; what comes meanwhile goes
    with the groups that are still to come, which halves the time that an event waits in a bridge at its limit.

    Writing may take all the time for as long as it has rested before, up to `MOST_CREDIT`; from then on it rests for as
    long as it takes, and so writes more at a time instead of falling behind. A bridge with time to spare adds no delay.
    `write` hands bytes to the kernel.
    """

    def __init__(self, metrics: Metrics, tasks: TaskOwner) -> None:
        self.write = os.write
        self._metrics = metrics
        self._dirty: list[Flushable] = []
        self._queue: deque[Flushable] = deque()
        self._scheduled = False
        self._shared: Delivery | None = None
        self._credit = MOST_CREDIT
        self._rests_since = time.monotonic()
        self._slow: dict[Connection, None] = {}
        self._some_slow = asyncio.Event()
        self._arrived = 0.0
        self._happened = 0
        self._loop = asyncio.get_running_loop()
        tasks.start(self._poll_slow(), "slow-connections")

    def now(self) -> float:
        """The time by which slow connections are judged, in seconds."""
        return self._loop.time()

    def mark(self, item: Flushable) -> None:
        """Have `item` flushed at the end of this turn, or soon after; once is enough."""
        self._dirty.append(item)
        self._schedule()

    def queue(self, item: Flushable) -> None:
        """Have `item` flushed after all that is queued already; once is enough."""
        self._queue.append(item)
        self._schedule()

    def share(self, batches: list[Batch]) -> Delivery:
        """A delivery of `batches`, the same one for all who ask in a row."""
        if self._shared is None or self._shared.batches != batches:
            self._shared = Delivery(batches)
        return self._shared

    def note(self, arrived: float, happened_ms: int) -> None:
        """Note when the oldest event that is about to be written came in and happened, for the latency histograms."""
        if self._dirty and not self._arrived:
            self._arrived, self._happened = arrived, happened_ms

    def account(self, wire: Wire) -> None:
        """Count what was written of a wire."""
        if wire.deliveries:
            self._metrics.sent(wire.types, wire.size, wire.deliveries)
            wire.deliveries = 0

    def slow(self, connection: Connection) -> None:
        """Try again later to write to `connection`."""
        self._slow[connection] = None
        self._metrics.slow.set(len(self._slow))
        self._some_slow.set()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        if self._slow.pop(connection, connection) is None:
            self._metrics.slow.set(len(self._slow))

    def flush(self) -> None:
        """Write all that waits, now."""
        self._write(float("inf"))

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            wait = self._rests_since - time.monotonic() - self._credit
            if wait > 0:
                self._loop.call_later(wait, self._run)
            else:
                self._loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        self._write(SLICE)
        if self._dirty or self._queue:
            self._schedule()

    def _write(self, seconds: float) -> None:
        """Flush what is marked, and of the queue what can be begun within `seconds`."""
        started = now = time.monotonic()
        if self._dirty:
            dirty, self._dirty = self._dirty, []
            for item in dirty:
                item.flush()
            self._queue.append(_EndOfTurn(self._metrics, started, self._arrived, self._happened))
            self._arrived = 0.0
        while self._queue and now - started < seconds:
            self._queue.popleft().flush()
            now = time.monotonic()
        if not self._queue:
            self._shared = None
        self._credit = min(MOST_CREDIT, self._credit + started - self._rests_since) - (now - started)
        self._rests_since = now

    async def _poll_slow(self) -> None:
        while True:
            await self._some_slow.wait()
            await asyncio.sleep(SLOW_POLL)
            now = self._loop.time()
            for connection in list(self._slow):
                if not connection.poll(now):
                    self.forget(connection)
            if not self._slow:
                self._some_slow.clear()
