"""WatchEvents: from a cursor, a snapshot or now, through the log and then live, without a gap or a repetition."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress

from msgspec import structs

from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor import __version__
from weftline_executor.api.requests import check_enum, check_id, enum_names
from weftline_executor.api.snapshots import Snapshots
from weftline_executor.api.tail import Item, Tail, Watcher, varint
from weftline_executor.engine import Engine
from weftline_executor.errors import InvalidArgument, ShuttingDown, StoreUnavailable, WorkflowNotFound
from weftline_executor.metrics import Metrics
from weftline_executor.model.records import Batch
from weftline_executor.store.batches import cut

MAX_RESPONSE_BYTES = 256 * 1024
PACE_SECONDS = 0.001
"""So long after a response, whatever came meanwhile goes into the next: each costs as much as many events in it."""

BUSY_EVENTS = 8
BUSY_PACE_SECONDS = 0.003
"""The pace after a response with so many events: where that many come in a moment, few of them are waited for."""

_STARTS = enum_names(pb.WatchFrom.items())
_COMMIT_TAG = b"\x30"  # field 6 (`commit`) of WatchEventsResponse, varint


class Watches:
    """Serves watches; `heartbeat_seconds` is the silence after which a watch gets a heartbeat."""

    def __init__(self, engine: Engine, tail: Tail, snapshots: Snapshots, metrics: Metrics, heartbeat: float) -> None:
        self._engine = engine
        self._tail = tail
        self._snapshots = snapshots
        self._metrics = metrics
        self._heartbeat = heartbeat

    async def serve(self, request: pb.WatchEventsRequest) -> AsyncIterator[bytes]:
        """The responses of one watch, encoded. Raises InvalidArgument, ShuttingDown, StoreUnavailable."""
        _check(request)
        # What comes from here on is captured before anything is read, so nothing can fall between.
        watcher = self._tail.open(request.workflow_id, request.telemetry)
        self._metrics.watchers.inc()
        try:
            watch = _WatchOne if request.workflow_id else _WatchAll
            async for response in watch(self, request, watcher).run():
                yield response
        finally:
            self._metrics.watchers.dec()
            self._tail.release(watcher)


class _Watch(ABC):
    """What watching one workflow and watching all have in common; `place` is the last seq or commit that was sent."""

    def __init__(self, watches: Watches, request: pb.WatchEventsRequest, watcher: Watcher) -> None:
        self.engine = watches._engine
        self.tail = watches._tail
        self.snapshots = watches._snapshots
        self.metrics = watches._metrics
        self.heartbeat_seconds = watches._heartbeat
        self.request = request
        self.watcher = watcher
        self.place = 0
        self.behind = False
        self.pace = PACE_SECONDS

    async def run(self) -> AsyncIterator[bytes]:
        head = await self.head()
        created = pb.WatchCreated(
            epoch=self.engine.store.epoch,
            seq=head if self.request.workflow_id else 0,
            commit=self.tail.last_commit,
            version=__version__,
            heartbeat_interval_ms=round(self.heartbeat_seconds * 1000),
        )
        yield pb.WatchEventsResponse(created=created).SerializeToString()
        async for response in self.begin(head):
            yield response.SerializeToString()
        while True:
            if self.behind:
                self.behind = False
                async for encoded in self.catch_up():
                    yield encoded
            if self.request.until_head and self.place >= head:
                return
            async for encoded in self.live():
                yield encoded

    async def live(self) -> AsyncIterator[bytes]:
        """Sends what is queued, or a heartbeat when nothing comes."""
        if not await self.watcher.wait(self.heartbeat_seconds):
            yield self.heartbeat()
        if self.watcher.closed:
            raise ShuttingDown
        while (response := self.next_response()) is not None:
            yield response
            await asyncio.sleep(self.pace)
        if self.watcher.lagged:
            self.metrics.watch_lags.inc()
            self.watcher.restart()
            self.behind = True

    def next_response(self) -> bytes | None:
        """As much of the queue as fits into one response; None when it is empty."""
        parts: list[bytes] = []
        size = count = at = 0
        before = self.place
        while size < MAX_RESPONSE_BYTES and (item := self.watcher.pop()) is not None:
            if item.commit and not self.accept(item):
                continue
            parts.append(item.payload)
            size += len(item.payload)
            count += item.count
            at = item.at or at
        if not parts:
            return None
        self.pace = PACE_SECONDS if count < BUSY_EVENTS else BUSY_PACE_SECONDS
        if count:
            self.metrics.watch_events.inc(count)
            self.metrics.watch_lag_seconds.observe(max(0.0, time.time() - at / 1000))
        return self.finish(parts, self.place != before)

    async def catch_up(self) -> AsyncIterator[bytes]:
        """Reads the log from `place` to its end."""
        while batches := await self.read():
            for batch in batches:
                for item in Item.all_of(self.passed(batch)):
                    self.metrics.watch_events.inc(item.count)
                    yield self.finish([item.payload], item.ends_batch)

    @abstractmethod
    async def head(self) -> int:
        """Where the log's end is."""

    @abstractmethod
    def begin(self, head: int) -> AsyncIterator[pb.WatchEventsResponse]:
        """What is sent before the first event; sets `place`."""

    @abstractmethod
    def accept(self, item: Item) -> bool:
        """Whether a queued item is still to be sent; moves `place` over it."""

    @abstractmethod
    async def read(self) -> list[Batch]:
        """The next batches of the log after `place`."""

    @abstractmethod
    def passed(self, batch: Batch) -> Batch:
        """Moves `place` over a batch that was read, and gives what of it is still to be sent."""

    @abstractmethod
    def finish(self, parts: list[bytes], moved: bool) -> bytes:
        """One encoded response with these events."""

    def known_head(self) -> int:
        """The head of the one workflow that is watched, 0 when all are."""
        run = self.engine.active(self.request.workflow_id)
        if run is not None and run.projection.seq:
            return run.projection.seq
        return self.place if self.request.workflow_id else 0

    def heartbeat(self) -> bytes:
        beat = pb.WatchHeartbeat(
            epoch=self.engine.store.epoch,
            seq=self.known_head(),
            commit=self.tail.last_commit,
            timestamp_ms=round(time.time() * 1000),
            active_workflows=self.engine.active_runs,
        )
        return pb.WatchEventsResponse(heartbeat=beat).SerializeToString()


class _WatchOne(_Watch):
    """Watches one workflow; its place is a seq."""

    async def head(self) -> int:
        run = self.engine.active(self.request.workflow_id)
        if run is not None and run.projection.seq:
            return run.projection.seq
        return (await self.engine.store.head(self.request.workflow_id)).seq

    async def begin(self, head: int) -> AsyncIterator[pb.WatchEventsResponse]:
        if self.request.start_from == pb.WATCH_FROM_NOW:
            self.place = head
            return
        if self.request.start_from == pb.WATCH_FROM_CURSOR:
            compacted = await self.compacted(head)
            if compacted is None:
                self.place = self.request.cursor.seq
                self.behind = True
                return
            yield pb.WatchEventsResponse(compacted=compacted)
        self.place = head
        if head:
            # Retention may have deleted all runs of a workflow; then there is a head, but no state to show.
            with suppress(WorkflowNotFound):
                snapshot = await self.snapshots.of(self.request.workflow_id)
                self.place = snapshot.seq
                yield pb.WatchEventsResponse(snapshot=snapshot)

    async def compacted(self, head: int) -> pb.WatchCompacted | None:
        """Why the cursor can't be honoured; None when it can."""
        cursor = self.request.cursor
        oldest = (await self.engine.store.head(self.request.workflow_id)).oldest
        if cursor.epoch != self.engine.store.epoch:
            reason = pb.COMPACTED_REASON_WRONG_EPOCH
        elif cursor.seq > head:
            reason = pb.COMPACTED_REASON_SEQ_AHEAD
        elif cursor.seq < oldest - 1:
            reason = pb.COMPACTED_REASON_RETENTION
        else:
            return None
        return pb.WatchCompacted(reason=reason, oldest_seq=oldest, head_seq=head)

    def accept(self, item: Item) -> bool:
        if item.last_seq <= self.place:
            return False
        self.place = item.last_seq
        return True

    async def read(self) -> list[Batch]:
        return await self.engine.store.read(self.request.workflow_id, self.place)

    def passed(self, batch: Batch) -> Batch:
        if batch.first_seq != self.place + 1:
            raise StoreUnavailable("events were deleted while they were read; watch again from the cursor")
        self.place = batch.last_seq
        return batch

    def finish(self, parts: list[bytes], moved: bool) -> bytes:
        return b"".join(parts)


class _WatchAll(_Watch):
    """Watches all workflows; its place is a commit.

    `shown` is the last seq of a workflow that was sent though its commit is after the place: in a snapshot, or in the
    first items of a batch.
    """

    def __init__(self, watches: Watches, request: pb.WatchEventsRequest, watcher: Watcher) -> None:
        super().__init__(watches, request, watcher)
        self.shown: dict[str, int] = {}

    async def head(self) -> int:
        return self.tail.last_commit

    async def begin(self, head: int) -> AsyncIterator[pb.WatchEventsResponse]:
        self.place = head
        if self.request.start_from == pb.WATCH_FROM_NOW:
            return
        if self.request.start_from == pb.WATCH_FROM_CURSOR:
            compacted = await self.compacted(head)
            if compacted is None:
                self.place = self.request.position.commit
                self.behind = True
                return
            yield pb.WatchEventsResponse(compacted=compacted)
        for workflow_id in self.engine.active_workflows():
            with suppress(WorkflowNotFound):
                snapshot = await self.snapshots.of(workflow_id)
                self.shown[workflow_id] = snapshot.seq
                yield pb.WatchEventsResponse(snapshot=snapshot, commit=head)

    async def compacted(self, head: int) -> pb.WatchCompacted | None:
        """Why the position can't be honoured; None when it can."""
        position = self.request.position
        if position.epoch != self.engine.store.epoch:
            return pb.WatchCompacted(reason=pb.COMPACTED_REASON_WRONG_EPOCH)
        if position.commit > head:
            return pb.WatchCompacted(reason=pb.COMPACTED_REASON_SEQ_AHEAD)
        if position.commit < await self.engine.store.compacted_commit():
            return pb.WatchCompacted(reason=pb.COMPACTED_REASON_RETENTION)
        return None

    def accept(self, item: Item) -> bool:
        if item.commit <= self.place:
            return False
        if item.ends_batch:
            self.place = item.commit
        if not self._news(item.workflow_id, item.last_seq):
            return False
        if not item.ends_batch:
            self.shown[item.workflow_id] = item.last_seq
        return True

    async def read(self) -> list[Batch]:
        batches = await self.engine.store.read_all(self.place)
        if await self.engine.store.compacted_commit() > self.place:
            raise StoreUnavailable("events were deleted while they were read; watch again from the position")
        return [batch for batch in batches if self._committed(batch)]

    def _committed(self, batch: Batch) -> bool:
        # The log may be ahead of what the listener was told; what is ahead comes through the queue.
        return batch.commit <= self.tail.last_commit

    def passed(self, batch: Batch) -> Batch:
        self.place = batch.commit
        shown = self.shown.get(batch.workflow_id, 0)
        return cut(batch, shown) if self._news(batch.workflow_id, batch.last_seq) else structs.replace(batch, events=())

    def _news(self, workflow_id: str, last_seq: int) -> bool:
        """Whether not all events of the workflow up to `last_seq` were sent."""
        if last_seq <= self.shown.get(workflow_id, 0):
            return False
        self.shown.pop(workflow_id, None)
        return True

    def finish(self, parts: list[bytes], moved: bool) -> bytes:
        return b"".join((*parts, _COMMIT_TAG, varint(self.place))) if moved else b"".join(parts)


def _check(request: pb.WatchEventsRequest) -> None:
    """Refuses a watch that asks for a cursor without giving the right one."""
    check_enum("start_from", request.start_from, _STARTS)
    if request.workflow_id:
        check_id("workflow_id", request.workflow_id)
    if request.start_from != pb.WATCH_FROM_CURSOR:
        return
    wanted = "cursor" if request.workflow_id else "position"
    if not request.HasField("cursor" if request.workflow_id else "position"):
        raise InvalidArgument(wanted, "WATCH_FROM_CURSOR needs it")
    if request.cursor.seq < 0 or request.position.commit < 0:
        raise InvalidArgument(wanted, "must not be negative")
