"""Writes what one turn of the loop brought, once per connection, and looks after connections that are slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from weftline_bridge.frames import Batch, Dialect, Wire, make_wire
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.metrics import Metrics

SLOW_POLL = 0.05


class Flushable(Protocol):
    """A connection that has something to write."""

    def flush(self, flusher: Flusher) -> None:
        """Write what waits, or note that the socket has no room."""

    def poll(self, flusher: Flusher, now: float) -> bool:
        """Try again to write to a slow socket; whether it is still slow."""


class Flusher:
    """Collects connections that have something to write, and has each of them write once a turn."""

    def __init__(self, metrics: Metrics, tasks: TaskOwner) -> None:
        self._metrics = metrics
        self._dirty: list[Flushable] = []
        self._slow: dict[Flushable, None] = {}
        self._some_slow = asyncio.Event()
        self._joined: dict[tuple[Dialect, tuple[Batch, ...]], Wire] = {}
        self._used: dict[Wire, None] = {}
        self._arrived = 0.0
        self._happened = 0
        self._loop = asyncio.get_running_loop()
        tasks.start(self._poll_slow(), "slow-connections")

    def mark(self, connection: Flushable) -> None:
        """Have `connection` flushed at the end of this turn; once is enough."""
        if not self._dirty:
            self._loop.call_soon(self.flush)
        self._dirty.append(connection)

    def note(self, arrived: float, happened_ms: int) -> None:
        """Note when the oldest event that is about to be written came in and happened, for the latency histograms."""
        if self._dirty and not self._arrived:
            self._arrived, self._happened = arrived, happened_ms

    def wire(self, dialect: Dialect, batches: Sequence[Batch]) -> Wire:
        """The socket bytes of `batches`, made once a turn for all who have the same waiting."""
        if len(batches) == 1:
            wire = batches[0].wire(dialect)
        else:
            key = (dialect, tuple(batches))
            found = self._joined.get(key)
            if found is None:
                messages = [message for batch in batches for message in batch.messages]
                found = self._joined[key] = make_wire(messages, dialect)
            wire = found
        if not wire.deliveries:
            self._used[wire] = None
        return wire

    def slow(self, connection: Flushable) -> None:
        """Try again later to write to `connection`."""
        self._slow[connection] = None
        self._metrics.slow.set(len(self._slow))
        self._some_slow.set()

    def forget(self, connection: Flushable) -> None:
        """The connection is gone."""
        if self._slow.pop(connection, connection) is None:
            self._metrics.slow.set(len(self._slow))

    def flush(self) -> None:
        """Write all that waits, now."""
        started = time.monotonic()
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush(self)
        self._account()
        ended = time.monotonic()
        self._metrics.fanout.observe(ended - started)
        if self._arrived:
            self._metrics.latency_arrival.observe(ended - self._arrived)
            if self._happened:
                self._metrics.latency_executor.observe(max(0.0, time.time() - self._happened / 1000))
            self._arrived = 0.0

    def _account(self) -> None:
        for wire in self._used:
            self._metrics.sent(wire.types, len(wire.data), wire.deliveries)
            wire.deliveries = 0
        self._used.clear()
        self._joined.clear()

    async def _poll_slow(self) -> None:
        while True:
            await self._some_slow.wait()
            await asyncio.sleep(SLOW_POLL)
            now = self._loop.time()
            for connection in list(self._slow):
                if not connection.poll(self, now):
                    self.forget(connection)
            self._account()
            if not self._slow:
                self._some_slow.clear()
