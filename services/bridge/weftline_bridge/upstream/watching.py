"""Reads one stream of events from the executor and yields what it tells, translated."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator

from grpc import aio

from weftline.v1 import events_pb2, workflow_service_pb2
from weftline_bridge.errors import TranslationError, WatchLostError
from weftline_bridge.frames import Message
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import GapPayload
from weftline_bridge.upstream.channels import ChannelPool
from weftline_bridge.upstream.items import (
    Arrival,
    Compacted,
    CompactedReason,
    Created,
    Heartbeat,
    StateItem,
    WatchItem,
    WatchStart,
)
from weftline_bridge.upstream.states import translate_state
from weftline_bridge.upstream.translate import translate_all

_log = logging.getLogger(__name__)

_SILENT_HEARTBEATS = 2.5
_FROM = {
    "snapshot": workflow_service_pb2.WATCH_FROM_SNAPSHOT,
    "now": workflow_service_pb2.WATCH_FROM_NOW,
    "cursor": workflow_service_pb2.WATCH_FROM_CURSOR,
}
_REASONS: dict[int, CompactedReason] = {
    workflow_service_pb2.COMPACTED_REASON_WRONG_EPOCH: "wrong_epoch",
    workflow_service_pb2.COMPACTED_REASON_SEQ_AHEAD: "seq_ahead",
}


class EventStreams:
    """Opens streams of events; an event that can't be translated is logged, counted and replaced by a gap."""

    def __init__(self, pool: ChannelPool, mint: Mint, metrics: Metrics, *, open_timeout: float) -> None:
        self._pool = pool
        self._mint = mint
        self._metrics = metrics
        self._open_timeout = open_timeout

    async def watch(self, start: WatchStart) -> AsyncGenerator[WatchItem, None]:
        """Yield what one stream brings, `Created` first; end when the executor ends it (`until_head`).

        Raises WatchLostError when the stream breaks, does not begin within the time for opening, or
        is silent for 2.5 times the executor's heartbeat interval.
        """
        call = self._pool.stub().WatchEvents(_request(start))
        patience = self._open_timeout
        self._metrics.watches.inc()
        try:
            while True:
                try:
                    async with asyncio.timeout(patience):
                        response = await call.read()
                except TimeoutError:
                    raise WatchLostError(f"nothing came for {patience:.1f} s") from None
                except aio.AioRpcError as error:
                    raise WatchLostError(f"{error.code().name}: {error.details()}") from None
                if not isinstance(response, workflow_service_pb2.WatchEventsResponse):
                    return
                for item in self._items(response):
                    if isinstance(item, Created) and item.heartbeat_interval > 0:
                        patience = _SILENT_HEARTBEATS * item.heartbeat_interval
                    yield item
        finally:
            self._metrics.watches.dec()
            call.cancel()

    def _items(self, response: workflow_service_pb2.WatchEventsResponse) -> Iterator[WatchItem]:
        events = response.events
        if events:
            messages = translate_all(events, self._quarantine)
            self._metrics.events.inc(len(events))
            newest = events[-1].timestamp_ms
            if newest:
                self._metrics.lag.set(max(0.0, time.time() - newest / 1000))
            yield Arrival(messages, response.commit)
        elif response.HasField("created"):
            made = response.created
            interval = made.heartbeat_interval_ms / 1000
            yield Created(made.epoch, made.seq, made.commit, made.version, interval)
        elif response.HasField("snapshot"):
            try:
                yield StateItem(translate_state(response.snapshot), response.commit)
            except TranslationError as error:
                self._metrics.quarantined.inc()
                _log.error("a snapshot was left out: %s", error)
        elif response.HasField("heartbeat"):
            beat = response.heartbeat
            yield Heartbeat(beat.epoch, beat.seq, beat.commit, beat.active_workflows)
        elif response.HasField("compacted"):
            yield Compacted(_REASONS.get(response.compacted.reason, "compacted"), response.compacted.head_seq)

    def _quarantine(self, event: events_pb2.Event, error: TranslationError) -> Message | None:
        self._metrics.quarantined.inc()
        _log.error("an event of workflow %s was left out: %s", event.workflow_id, error)
        if not event.seq:
            return None
        kind = event.WhichOneof("payload") or "unknown"
        payload = GapPayload(event.seq, event.seq, {kind: 1}, "quarantined")
        return self._mint.gap(event.workflow_id, payload, place=event.seq)


def _request(start: WatchStart) -> workflow_service_pb2.WatchEventsRequest:
    request = workflow_service_pb2.WatchEventsRequest(
        workflow_id=start.workflow_id,
        start_from=_FROM[start.kind],
        telemetry=start.telemetry,
        until_head=start.until_head,
    )
    if start.kind == "cursor" and start.workflow_id:
        request.cursor.epoch, request.cursor.seq = start.epoch, start.place
    elif start.kind == "cursor":
        request.position.epoch, request.position.commit = start.epoch, start.place
    return request
