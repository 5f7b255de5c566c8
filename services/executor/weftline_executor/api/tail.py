"""Fans out what becomes durable to all watches: each event is encoded once, whatever the number of watchers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from weftline_executor.api.translate import durable_events, telemetry_event
from weftline_executor.model.events import Event, NodeProgressed, Telemetry
from weftline_executor.model.records import Batch

MAX_ITEM_BYTES = 256 * 1024
"""A batch with more than this is sent in several items, so that no response is too large for its reader."""

MAX_QUEUED_BYTES = 8 << 20
"""What a watch may have queued; a slower one is read to from the log instead."""

MAX_QUEUED_TELEMETRY = 2 << 20
"""What a watch may have queued of telemetry beside that; of more, what is about something else is left out."""

EVENTS_AT_ONCE = 1024
"""How many events are encoded together at most, since all of them are held as messages meanwhile."""

_EVENTS_TAG = b"\x12"  # field 2 (`events`) of WatchEventsResponse, length-delimited
_VARINT_LIMIT = 0x80


def varint(value: int) -> bytes:
    """Protobuf's encoding of an unsigned number."""
    out = bytearray()
    while value >= _VARINT_LIMIT:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Item:
    """Encoded events of one workflow that wait to be sent, as they stand in a WatchEventsResponse on the wire.

    `commit` and `last_seq` are 0 for telemetry; `ends_batch` is false while more of the same batch follows.
    """

    __slots__ = ("at", "commit", "count", "ends_batch", "key", "last_seq", "payload", "workflow_id")

    def __init__(self, workflow_id: str, payload: bytes) -> None:
        self.workflow_id = workflow_id
        self.payload = payload
        self.commit = 0
        self.last_seq = 0
        self.ends_batch = True
        self.count = 0
        self.at = 0
        self.key: tuple[str, str] | None = None

    @classmethod
    def all_of(cls, batch: Batch) -> list[Item]:
        """The items of a durable batch: in each as many events as are encoded at once and fit, one at least."""
        items: list[Item] = []
        for begin in range(0, len(batch.events), EVENTS_AT_ONCE):
            for events, payload in _encoded(batch, batch.events[begin : begin + EVENTS_AT_ONCE]):
                item = cls(batch.workflow_id, payload)
                item.commit, item.last_seq, item.at = batch.commit, events[-1].seq, events[-1].at
                item.count, item.ends_batch = len(events), False
                items.append(item)
        if items:
            items[-1].ends_batch = True
        return items


def _encoded(batch: Batch, events: Sequence[Event]) -> Iterator[tuple[Sequence[Event], bytes]]:
    """Events that fit into an item, and how they stand on the wire; those that do not fit together are parted."""
    payload = durable_events(batch.workflow_id, batch.run_id, events).SerializeToString()
    if len(payload) <= MAX_ITEM_BYTES or len(events) == 1:
        yield events, payload
        return
    step = max(1, len(events) // (2 * len(payload) // MAX_ITEM_BYTES))
    for begin in range(0, len(events), step):
        yield from _encoded(batch, events[begin : begin + step])


class Watcher:
    """The queue of one watch: durable items in order, and the newest telemetry of each kind where its first stood."""

    def __init__(self, workflow_id: str, telemetry: bool) -> None:
        self.workflow_id = workflow_id
        self.telemetry = telemetry
        self.lagged = False
        self.closed = False
        self._items: deque[Item] = deque()
        self._bytes = self._telemetry_bytes = 0
        self._pending_telemetry: dict[tuple[str, str], Item] = {}
        self._wake = asyncio.Event()

    def push(self, item: Item) -> None:
        """Queues a durable item; over the bound, everything is let go and `lagged` says so."""
        if self.lagged:
            return
        self._bytes += len(item.payload)
        if self._bytes > MAX_QUEUED_BYTES:
            self._clear()
            self.lagged = True
        else:
            self._items.append(item)
        self._wake.set()

    def push_telemetry(self, key: tuple[str, str], workflow_id: str, payload: bytes) -> None:
        """Queues telemetry, in place of an older one of the same key."""
        if self.lagged:
            return
        pending = self._pending_telemetry.get(key)
        more = len(payload) - (len(pending.payload) if pending is not None else 0)
        if more > 0 and self._telemetry_bytes + more > MAX_QUEUED_TELEMETRY:
            return
        self._telemetry_bytes += more
        if pending is not None:
            pending.payload = payload
            return
        item = Item(workflow_id, payload)
        item.key = key
        self._pending_telemetry[key] = item
        self._items.append(item)
        self._wake.set()

    def pop(self) -> Item | None:
        """The next item; None when there is none."""
        if not self._items:
            return None
        item = self._items.popleft()
        if item.key is None:
            self._bytes -= len(item.payload)
        else:
            self._telemetry_bytes -= len(item.payload)
            del self._pending_telemetry[item.key]
        return item

    def restart(self) -> None:
        """Queues again after having lagged."""
        self.lagged = False

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._wake.set()

    async def wait(self, seconds: float) -> bool:
        """Waits for something to do; gives False after that many seconds of nothing."""
        if not self._wake.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return False
        self._wake.clear()
        return True

    def _clear(self) -> None:
        self._items.clear()
        self._pending_telemetry.clear()
        self._bytes = self._telemetry_bytes = 0


class Tail:
    """The listener of the engine: hands every batch to the watches that want it."""

    def __init__(self, last_commit: int) -> None:
        self.last_commit = last_commit
        self._by_workflow: dict[str, set[Watcher]] = {}
        self._telemetry_number = 0

    def open(self, workflow_id: str, telemetry: bool) -> Watcher:
        """A queue that gets everything from now on, of one workflow, or of all (empty id)."""
        watcher = Watcher(workflow_id, telemetry)
        self._by_workflow.setdefault(workflow_id, set()).add(watcher)
        return watcher

    def release(self, watcher: Watcher) -> None:
        """Ends what `open` began."""
        watchers = self._by_workflow.get(watcher.workflow_id, set())
        watchers.discard(watcher)
        if not watchers:
            self._by_workflow.pop(watcher.workflow_id, None)

    def close(self) -> None:
        """Ends every watch."""
        for watchers in self._by_workflow.values():
            for watcher in watchers:
                watcher.close()

    def committed(self, batches: Sequence[Batch]) -> None:
        """See Listener."""
        everything = self._by_workflow.get("", ())
        for batch in batches:
            self.last_commit = batch.commit
            watchers = self._by_workflow.get(batch.workflow_id, ())
            if watchers or everything:
                for item in Item.all_of(batch):
                    for watcher in (*watchers, *everything):
                        watcher.push(item)

    def listening(self, workflow_id: str) -> bool:
        """See Listener."""
        watchers = (*self._by_workflow.get(workflow_id, ()), *self._by_workflow.get("", ()))
        return any(watcher.telemetry for watcher in watchers)

    def telemetry(self, workflow_id: str, run_id: str, event: Telemetry) -> None:
        """See Listener."""
        watchers = [
            watcher
            for watcher in (*self._by_workflow.get(workflow_id, ()), *self._by_workflow.get("", ()))
            if watcher.telemetry
        ]
        if not watchers:
            return
        self._telemetry_number += 1
        body = telemetry_event(workflow_id, run_id, self._telemetry_number, event).SerializeToString()
        payload = b"".join((_EVENTS_TAG, varint(len(body)), body))
        key = (workflow_id, event.node if isinstance(event, NodeProgressed) else "")
        for watcher in watchers:
            watcher.push_telemetry(key, workflow_id, payload)
