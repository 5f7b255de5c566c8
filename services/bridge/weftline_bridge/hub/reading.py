"""Reads from the executor besides the streams: whole states and history, each at most once at a time per workflow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from weftline_bridge.errors import (
    BridgeError,
    CommandRefusedError,
    ExecutorUnavailableError,
    UnknownWorkflowError,
    WatchLostError,
)
from weftline_bridge.frames import Message
from weftline_bridge.hub.feed import Feed
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.hub.watcher import Backoff
from weftline_bridge.metrics import Metrics
from weftline_bridge.upstream import Arrival, Compacted, Created, ExecutorClient, StateItem, WatchStart

_log = logging.getLogger(__name__)

_AT_ONCE = 8


class HistoryGoneError(BridgeError):
    """The events after a cursor can't be had; `reason` as in `workflow.subscribed`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _History:
    """A read of history from a cursor on that somebody waits for."""

    epoch: str
    seq: int
    ended: asyncio.Event


class ExecutorReader:
    """Fetches states, reads history and fills holes in feeds."""

    def __init__(self, client: ExecutorClient, tasks: TaskOwner, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._client = client
        self._tasks = tasks
        self._metrics = metrics
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._fetches: dict[str, asyncio.Task[bool | CommandRefusedError]] = {}
        self._repairs: dict[str, asyncio.Task[None]] = {}
        self._histories: dict[str, _History] = {}

    async def fetch_state(self, feed: Feed) -> bool:
        """Have `feed` remember the whole state as it is now; False when the workflow has never run.

        Many who ask at once share one call. Raises CommandRefusedError, in particular ExecutorUnavailableError.
        """
        task = self._fetches.get(feed.workflow_id)
        if task is None:
            task = self._tasks.start(self._fetch(feed), f"state-{feed.workflow_id}")
            self._fetches[feed.workflow_id] = task
            task.add_done_callback(lambda _: self._fetches.pop(feed.workflow_id, None))
        known = await asyncio.shield(task)
        if isinstance(known, CommandRefusedError):
            raise known
        return known

    async def history(
        self, feed: Feed, epoch: str, seq: int, max_bytes: int, covered: Callable[[], bool]
    ) -> list[Message]:
        """Durable messages after a cursor: none when it is at the head, else at least one and about `max_bytes`.

        The feed keeps what joins up with what it has. Who asks while somebody reads from there or from before waits
        for that, and gets nothing if the feed has all by then, as `covered` tells. Raises HistoryGoneError when they
        can't be had, ExecutorUnavailableError when the executor is away.
        """
        workflow_id = feed.workflow_id
        other = self._histories.get(workflow_id)
        if other is not None and other.seq <= seq and other.epoch == epoch:
            await other.ended.wait()
            if covered():
                return []
        own = _History(epoch, seq, asyncio.Event())
        if workflow_id not in self._histories or self._histories[workflow_id].seq > seq:
            self._histories[workflow_id] = own
        generation = feed.generation
        try:
            messages = await self._history(workflow_id, epoch, seq, max_bytes)
            if generation == feed.generation and epoch == feed.epoch:
                feed.reach_back(messages, self._clock())
            return messages
        finally:
            if self._histories.get(workflow_id) is own:
                del self._histories[workflow_id]
            own.ended.set()

    async def _history(self, workflow_id: str, epoch: str, seq: int, max_bytes: int) -> list[Message]:
        self._metrics.reads.labels("history").inc()
        start = WatchStart(workflow_id, "cursor", epoch, seq, telemetry=False, until_head=True)
        messages: list[Message] = []
        try:
            async with self._turns, aclosing(self._client.watch(start)) as items:
                async for item in items:
                    if isinstance(item, Compacted):
                        raise HistoryGoneError(item.reason)
                    if isinstance(item, StateItem):
                        raise HistoryGoneError("compacted")
                    if isinstance(item, Arrival):
                        messages += [message for message in item.messages if message.seq > seq]
                        max_bytes -= sum(len(message.data) for message in item.messages)
                        if max_bytes <= 0:
                            break
        except WatchLostError as error:
            raise ExecutorUnavailableError(f"the events could not be read: {error.reason}") from error
        return messages

    def repair(self, feed: Feed) -> None:
        """Fill the hole between what `feed` has and what comes live, unless that is being done."""
        feed.capture()
        if feed.workflow_id not in self._repairs:
            task = self._tasks.start(self._repair(feed), f"repair-{feed.workflow_id}")
            self._repairs[feed.workflow_id] = task
            task.add_done_callback(lambda _: self._repairs.pop(feed.workflow_id, None))

    async def settled(self, feed: Feed) -> None:
        """Return when no hole of `feed` is being filled."""
        while (task := self._repairs.get(feed.workflow_id)) is not None:
            await asyncio.wait({task})
            await asyncio.sleep(0)

    async def _fetch(self, feed: Feed) -> bool | CommandRefusedError:
        self._metrics.reads.labels("state").inc()
        try:
            async with self._turns:
                state = await self._client.workflow_state(feed.workflow_id)
        except UnknownWorkflowError:
            return False
        except CommandRefusedError as error:
            return error
        # Remembered here, and not by those who wait, so that nobody who asks meanwhile finds it missing.
        if feed.head is None or state.epoch == feed.epoch:
            feed.remember(state)
        return True

    async def _repair(self, feed: Feed) -> None:
        backoff = Backoff()
        while True:
            self._metrics.reads.labels("repair").inc()
            try:
                async with self._turns:
                    await self._read_into(feed)
                if feed.release(self._clock()):
                    return
            except (WatchLostError, CommandRefusedError) as error:
                _log.info("filling a hole of workflow %s failed: %s", feed.workflow_id, error)
            except Exception:
                _log.exception("filling a hole of workflow %s failed", feed.workflow_id)
            await asyncio.sleep(backoff.next())

    async def _read_into(self, feed: Feed) -> None:
        """Read what `feed` lacks up to the executor's head."""
        start = WatchStart(feed.workflow_id, telemetry=False, until_head=True)
        if feed.head is not None:
            start = WatchStart(feed.workflow_id, "cursor", feed.epoch, feed.head, telemetry=False, until_head=True)
        intake = FeedIntake(feed, self._clock, filling=True)
        async with aclosing(self._client.watch(start)) as items:
            async for item in items:
                if isinstance(item, (Created, Arrival, StateItem, Compacted)):
                    intake.take(item)


class FeedIntake:
    """Applies one stream's items to one feed; True from `take` asks for a hole to be filled."""

    def __init__(self, feed: Feed, clock: Callable[[], float], *, filling: bool = False) -> None:
        self._feed = feed
        self._clock = clock
        self._filling = filling
        self._epoch = ""
        self._reason = ""

    def take(self, item: Created | Arrival | StateItem | Compacted) -> bool:
        """Apply one item; whether a hole was found."""
        feed = self._feed
        if isinstance(item, Arrival):
            if self._filling:
                feed.fill(item.messages, self._clock())
                return False
            return feed.take(item.messages, self._clock())
        if isinstance(item, Created):
            self._epoch = item.epoch
            if item.seq == 0 and feed.head is None:
                feed.adopt_nothing(item.epoch, "")
        elif isinstance(item, Compacted):
            self._reason = item.reason
            if item.head_seq == 0:
                feed.adopt_nothing(self._epoch, item.reason)
        else:
            feed.adopt(item.state, self._reason)
        return False
