"""Writes what one turn of the loop brought, once per connection, and looks after connections that are slow."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from weftline_bridge.frames import Wire
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.metrics import Metrics

SLOW_POLL = 0.05


class Flushable(Protocol):
    """Something that has messages to hand to sockets."""

    def flush(self) -> None:
        """Hand over what waits."""


class Connection(Flushable, Protocol):
    """A connection as the flusher sees it."""

    def poll(self, now: float) -> bool:
        """Try again to write to a slow socket; whether it is still slow."""


class Flusher:
    """Collects feeds and connections that have something to write, and has each of them write once a turn.

    After a flush that took a while the next one waits as long again: a bridge at its limit then writes more at a time
    instead of falling behind, while one with time to spare adds no delay. `written` counts the bytes of all wires, each
    once however many connections got it.
    """

    def __init__(self, metrics: Metrics, tasks: TaskOwner) -> None:
        self.written = 0
        self._metrics = metrics
        self._dirty: list[Flushable] = []
        self._slow: dict[Connection, None] = {}
        self._some_slow = asyncio.Event()
        self._arrived = 0.0
        self._happened = 0
        self._not_before = 0.0
        self._loop = asyncio.get_running_loop()
        tasks.start(self._poll_slow(), "slow-connections")

    def now(self) -> float:
        """The time by which slow connections are judged, in seconds."""
        return self._loop.time()

    def mark(self, item: Flushable) -> None:
        """Have `item` flushed at the end of this turn, or soon after; once is enough."""
        if not self._dirty:
            wait = self._not_before - time.monotonic()
            if wait > 0:
                self._loop.call_later(wait, self.flush)
            else:
                self._loop.call_soon(self.flush)
        self._dirty.append(item)

    def note(self, arrived: float, happened_ms: int) -> None:
        """Note when the oldest event that is about to be written came in and happened, for the latency histograms."""
        if self._dirty and not self._arrived:
            self._arrived, self._happened = arrived, happened_ms

    def account(self, wire: Wire) -> None:
        """Count what was written of a wire."""
        self.written += wire.size
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
        started = time.monotonic()
        dirty, self._dirty = self._dirty, []
        if not dirty:
            return
        for item in dirty:
            item.flush()
        ended = time.monotonic()
        self._not_before = ended + (ended - started)
        self._metrics.fanout.observe(ended - started)
        if self._arrived:
            self._metrics.latency_arrival.observe(ended - self._arrived)
            if self._happened:
                self._metrics.latency_executor.observe(max(0.0, time.time() - self._happened / 1000))
            self._arrived = 0.0

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
