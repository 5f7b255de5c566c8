"""Lets a reader in on a workflow: by the events it missed, or by the whole state, and then by what comes live."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from weftline_bridge.errors import ExecutorUnavailableError
from weftline_bridge.frames import Batch, Message
from weftline_bridge.hub.audience import Filter, View
from weftline_bridge.hub.feed import MAX_TAIL_BYTES, Feed
from weftline_bridge.hub.group import Reader
from weftline_bridge.hub.reading import ExecutorReader, HistoryGoneError
from weftline_bridge.hub.watcher import Backoff
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.inbound import CursorRequest
from weftline_bridge.protocol.minting import Mint

_log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024


@dataclass(slots=True)
class CatchUp:
    """A reader that is on its way to the head: it has everything up to `position`."""

    feed: Feed
    reader: Reader
    view: View
    position: int
    epoch: str
    generation: int
    filter: Filter

    def offer(self, messages: list[Message]) -> None:
        """Deliver what follows the position."""
        passed = self.filter.apply(messages)
        if passed:
            self.reader.offer(Batch(passed))
        if messages:
            self.position = messages[-1].seq


class Joiner:
    """Answers subscriptions; nothing that happens meanwhile is missed or told twice.

    The last step of every join, from looking at the head to being attached, is made without waiting.
    """

    def __init__(self, reader: ExecutorReader, mint: Mint, metrics: Metrics) -> None:
        self._executor = reader
        self._mint = mint
        self._metrics = metrics

    async def join(
        self, feed: Feed, reader: Reader, view: View, cursor: CursorRequest | None, command_id: str, *, smallest: bool
    ) -> CatchUp | None:
        """Answer a subscription; a CatchUp when the reader is not attached yet and has to be led to the head.

        With `smallest` a state comes in place of the events after the cursor if it is known to have fewer bytes.
        Raises ExecutorUnavailableError when it takes the executor to answer, and it is away.
        """
        await self._executor.settled(feed)
        reason = ""
        if cursor is not None:
            try:
                if smallest and await self._state_is_smaller(feed, cursor):
                    raise HistoryGoneError("smaller")
                return await self._resume(feed, reader, view, cursor, command_id)
            except HistoryGoneError as gone:
                reason = gone.reason
                await self._notice_new_log(feed, cursor.epoch, reason)
        if await self.refresh(feed):
            after = feed.tell_state(reader, view, reason=reason, command_id=command_id)
            feed.attach(reader, view, after)
            self._metrics.joins.labels("snapshot").inc()
        else:
            feed.answer(reader, "gone", feed.tip, reason=reason, command_id=command_id)
            feed.attach(reader, view, feed.tip)
            self._metrics.joins.labels("gone").inc()
        return None

    async def refresh(self, feed: Feed) -> bool:
        """See to it that the feed's kept state is fresh; False when the workflow has never run."""
        backoff = Backoff()
        while not feed.state_is_fresh:
            if feed.head == 0 and not feed.capturing:
                return False
            known = await self._executor.fetch_state(feed)
            await self._executor.settled(feed)
            if not known and not feed.head:
                return False
            if not feed.state_is_fresh:
                await asyncio.sleep(backoff.next())
        return True

    async def lead(self, catch_up: CatchUp) -> None:
        """Lead a reader to the head, no faster than it takes what it gets, and attach it there."""
        backoff = Backoff()
        while not self._step(catch_up):
            try:
                await self._executor.settled(catch_up.feed)
                if catch_up.generation != catch_up.feed.generation:
                    raise HistoryGoneError("wrong_epoch" if catch_up.epoch != catch_up.feed.epoch else "compacted")
                if not self._covered(catch_up):
                    await self._read_on(catch_up)
                await catch_up.reader.room()
            except HistoryGoneError as gone:
                await self._notice_new_log(catch_up.feed, catch_up.epoch, gone.reason)
                await self._start_over(catch_up, gone.reason)
                return
            except ExecutorUnavailableError as error:
                _log.info("a reader of workflow %s has to wait: %s", catch_up.feed.workflow_id, error)
                await asyncio.sleep(backoff.next())

    async def _resume(
        self, feed: Feed, reader: Reader, view: View, cursor: CursorRequest, command_id: str
    ) -> CatchUp | None:
        if feed.epoch and cursor.epoch != feed.epoch:
            raise HistoryGoneError("wrong_epoch")
        filter_ = Filter(view, feed.workflow_id, self._mint)
        catch_up = CatchUp(feed, reader, view, cursor.seq, feed.epoch, feed.generation, filter_)
        missed: list[Message] = []
        if not self._covered(catch_up):
            missed = await self._history(catch_up, cursor.epoch)
            await self._executor.settled(feed)
            if catch_up.generation != feed.generation:
                raise HistoryGoneError("wrong_epoch" if cursor.epoch != feed.epoch else "compacted")
        feed.answer(reader, "resumed", cursor.seq, command_id=command_id)
        self._metrics.joins.labels("resumed").inc()
        catch_up.offer(missed)
        return None if self._step(catch_up) else catch_up

    async def _state_is_smaller(self, feed: Feed, cursor: CursorRequest) -> bool:
        """Whether the state is smaller than what the feed has of the events after a cursor."""
        if feed.epoch != cursor.epoch or feed.head is None or cursor.seq > feed.head:
            return False
        missed = feed.ring.bytes_after(cursor.seq)
        if missed > MAX_TAIL_BYTES:
            await self.refresh(feed)
        return feed.state_is_fresh and feed.state_bytes < feed.ring.bytes_after(cursor.seq)

    async def _notice_new_log(self, feed: Feed, epoch: str, reason: str) -> None:
        """If a read of history has met a new log before the feed's stream did, see to it that the feed has it too."""
        if reason == "wrong_epoch" and feed.epoch == epoch:
            self._executor.repair(feed)
            await self._executor.settled(feed)

    def _covered(self, catch_up: CatchUp) -> bool:
        feed = catch_up.feed
        return feed.head is not None and feed.ring.covers(catch_up.position, feed.head)

    def _step(self, catch_up: CatchUp) -> bool:
        """Deliver the next part from the ring; attach the reader when it is at the head, and say so."""
        feed, reader = catch_up.feed, catch_up.reader
        if catch_up.generation != feed.generation or feed.capturing:
            return False
        if self._covered(catch_up):
            catch_up.offer(feed.ring.after(catch_up.position, CHUNK_BYTES))
        if catch_up.position < (feed.head or 0):
            return False
        gap = catch_up.filter.flush()
        if gap:
            reader.offer(Batch(gap))
        feed.tell_latest(reader, catch_up.view)
        feed.attach(reader, catch_up.view, catch_up.position)
        return True

    async def _read_on(self, catch_up: CatchUp) -> None:
        feed = catch_up.feed
        found = await self._history(catch_up, feed.epoch)
        if catch_up.generation == feed.generation:
            catch_up.offer(found)

    async def _history(self, catch_up: CatchUp, epoch: str) -> list[Message]:
        feed = catch_up.feed

        def covered() -> bool:
            return epoch == feed.epoch and catch_up.generation == feed.generation and self._covered(catch_up)

        return await self._executor.history(feed, epoch, catch_up.position, CHUNK_BYTES, covered)

    async def _start_over(self, catch_up: CatchUp, reason: str) -> None:
        """What the reader lacks is gone: tell it the whole state."""
        feed, reader, view = catch_up.feed, catch_up.reader, catch_up.view
        backoff = Backoff()
        while True:
            try:
                if await self.refresh(feed):
                    feed.attach(reader, view, feed.tell_state(reader, view, reason=reason))
                else:
                    feed.answer(reader, "gone", feed.tip, reason=reason)
                    feed.attach(reader, view, feed.tip)
                return
            except ExecutorUnavailableError:
                await asyncio.sleep(backoff.next())
