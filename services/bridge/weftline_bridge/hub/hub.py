"""Knows every feed and who reads it, and keeps just those streams from the executor open that this takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from weftline_bridge.errors import ExecutorUnavailableError
from weftline_bridge.frames import Batch
from weftline_bridge.history import RingLimits
from weftline_bridge.hub.audience import Audience, Reader, View
from weftline_bridge.hub.feed import Feed
from weftline_bridge.hub.flushing import Flusher
from weftline_bridge.hub.joining import CatchUp, Joiner
from weftline_bridge.hub.reading import ExecutorReader
from weftline_bridge.hub.streams import AllStream, Plumbing, Pulse, SingleStream
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.hub.watcher import Backoff
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol import names
from weftline_bridge.protocol.inbound import Subscribe
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import SubscribedPayload
from weftline_bridge.upstream import ExecutorClient

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Limits of the hub; times in seconds."""

    ring: RingLimits = field(default_factory=RingLimits)
    linger: float = 30.0
    housekeeping: float = 1.0


class Hub:
    """The feeds, their readers and their streams.

    As long as somebody reads all workflows there is one stream for all of them, and else one for each
    workflow that has a reader; a stream lingers for a while after the last reader left.
    """

    def __init__(
        self, client: ExecutorClient, mint: Mint, metrics: Metrics, options: HubOptions, *, identity: str
    ) -> None:
        self.tasks = TaskOwner()
        self.flusher = Flusher(metrics, self.tasks)
        self.changed = asyncio.Event()
        self._mint = mint
        self._metrics = metrics
        self._options = options
        self._clock: Callable[[], float] = time.monotonic
        executor = ExecutorReader(client, self.tasks, metrics, self._clock)
        self._plumbing = Plumbing(
            client=client,
            executor=executor,
            tasks=self.tasks,
            flusher=self.flusher,
            metrics=metrics,
            clock=self._clock,
        )
        self._joiner = Joiner(executor, mint, metrics)
        self._pulse = Pulse(f"weftline:pulse:{identity}", self._plumbing, self.changed.set)
        self._everyone = Audience()
        self._feeds: dict[str, Feed] = {}
        self._singles: dict[str, SingleStream] = {}
        self._all: AllStream | None = None
        self._pins: dict[str, int] = {}
        self._idle_since: dict[str, float] = {}
        self._subscriptions: dict[Reader, dict[str, View]] = {}
        self._errands: dict[Reader, dict[str, asyncio.Task[None]]] = {}
        self._heartbeat: Batch | None = None

    def start(self) -> None:
        """Begin to watch whether the executor is there, and to clean up."""
        self._pulse.start()
        self.tasks.repeat(self._keep_house, "housekeeping", self._options.housekeeping)

    async def close(self) -> None:
        """End all streams and tasks."""
        await self.tasks.close()

    @property
    def connected(self) -> bool:
        """Whether the executor is reachable."""
        return self._pulse.connected

    @property
    def watches_all(self) -> bool:
        """Whether one stream for all workflows stands."""
        return self._all is not None and self._all.ready.is_set()

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """What is kept, by workflow."""
        return self._feeds

    @property
    def active_workflows(self) -> int:
        """How many workflows have an active run, as far as is known."""
        if self.watches_all:
            return sum(feed.active for feed in self._feeds.values())
        return self._pulse.active_workflows

    def subscriptions(self, reader: Reader) -> list[str]:
        """The workflows that `reader` is subscribed to, `*` first if it is to all."""
        every = [names.ALL_WORKFLOWS] if reader in self._everyone else []
        return every + list(self._subscriptions.get(reader, ()))

    async def subscribe(self, reader: Reader, request: Subscribe, deadline: float) -> None:
        """Answer a subscription to one workflow and deliver its events from then on.

        Subscribing again replaces the subscription. `deadline` is a time of the loop's clock. Raises
        ExecutorUnavailableError when the answer takes the executor and it was away until then.
        """
        workflow_id = request.workflow_id
        self.unsubscribe(reader, workflow_id)
        view = View(request.telemetry, request.level)
        feed = self._pin(workflow_id)
        try:

            async def join() -> CatchUp | None:
                await self._streaming(feed)
                return await self._joiner.join(feed, reader, view, request.cursor, request.id)

            catch_up = await _patiently(join, deadline)
        except BaseException:
            feed.detach(reader)
            raise
        finally:
            self._unpin(workflow_id)
        self._subscriptions.setdefault(reader, {})[workflow_id] = view
        if catch_up is not None:
            self._run_errand(reader, workflow_id, self._joiner.lead(catch_up))

    async def subscribe_all(self, reader: Reader, request: Subscribe, deadline: float) -> None:
        """Answer a subscription to all workflows; raises ExecutorUnavailableError as `subscribe` does."""
        self.unsubscribe(reader, names.ALL_WORKFLOWS)
        self._pins[names.ALL_WORKFLOWS] = self._pins.get(names.ALL_WORKFLOWS, 0) + 1
        try:
            stream = self._want_all()
            try:
                async with asyncio.timeout_at(deadline):
                    await stream.ready.wait()
            except TimeoutError:
                raise ExecutorUnavailableError from None
        finally:
            self._unpin(names.ALL_WORKFLOWS)
        payload = SubscribedPayload(stream.epoch, 0, "snapshot", command_id=request.id)
        reader.offer(Batch([self._mint.subscribed(names.ALL_WORKFLOWS, payload)]))
        self._metrics.joins.labels("all").inc()
        self.join_everyone(reader, View(request.telemetry, request.level))

    async def listening(self, reader: Reader, deadline: float) -> None:
        """Return when what happens from now on will reach `reader`, if it reads all workflows; at `deadline` anyway.

        What a client asks for could else be over before the stream of all workflows stands.
        """
        if self._all is not None and not self._all.ready.is_set() and reader in self._everyone:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._all.ready.wait()

    def join_everyone(self, reader: Reader, view: View) -> None:
        """Deliver all workflows to `reader`, after the state of each that has an active run."""
        self.flusher.flush()
        for feed in self._feeds.values():
            feed.flush_filter(view)
        self._everyone.add(reader, view)
        self._want_all()
        for feed in list(self._feeds.values()):
            if feed.active and reader not in feed.exempt:
                self._tell(feed, reader, view)

    def unsubscribe(self, reader: Reader, workflow_id: str) -> bool:
        """Deliver a workflow (`*`: all that are not subscribed to by name) no more; whether it was delivered."""
        if workflow_id == names.ALL_WORKFLOWS:
            named = self._subscriptions.get(reader, {})
            for other in list(self._errands.get(reader, {})):
                if other not in named:
                    self._end_errand(reader, other)
            return self._everyone.discard(reader)
        named = self._subscriptions.get(reader, {})
        if named.pop(workflow_id, None) is None:
            return False
        if not named:
            del self._subscriptions[reader]
        self._end_errand(reader, workflow_id)
        feed = self._feeds.get(workflow_id)
        if feed is not None:
            feed.detach(reader)
        return True

    def leave(self, reader: Reader) -> None:
        """The reader is gone."""
        for workflow_id in list(self._subscriptions.get(reader, ())):
            self.unsubscribe(reader, workflow_id)
        self.unsubscribe(reader, names.ALL_WORKFLOWS)

    def begin_heartbeats(self) -> None:
        """Prepare for `heartbeat` to be called for any number of readers within this turn."""
        self._heartbeat = None
        # A head must not overtake the events up to it.
        self.flusher.flush()
        for feed in self._feeds.values():
            feed.settle_filters()

    def heartbeat(self, reader: Reader) -> Batch:
        """A heartbeat with the heads of what `reader` is subscribed to and has been told of."""
        named = self._subscriptions.get(reader)
        if reader not in self._everyone:
            heads = {name: self._feeds[name].head_for(reader) for name in named or () if self._is_live(reader, name)}
            return Batch([self._mint.heartbeat(self._pulse.epoch, heads)])
        if named or reader in self._errands:
            heads = {name: feed.head_for(reader) for name, feed in self._feeds.items() if self._is_live(reader, name)}
            return Batch([self._mint.heartbeat(self._pulse.epoch, heads)])
        if self._heartbeat is None:
            heads = {name: feed.head for name, feed in self._feeds.items() if feed.head is not None}
            self._heartbeat = Batch([self._mint.heartbeat(self._pulse.epoch, heads)])
        return self._heartbeat

    def _is_live(self, reader: Reader, workflow_id: str) -> bool:
        feed = self._feeds.get(workflow_id)
        return feed is not None and feed.head is not None and workflow_id not in self._errands.get(reader, {})

    def _tell(self, feed: Feed, reader: Reader, view: View) -> None:
        if feed.state_is_fresh:
            feed.skip_to(reader, feed.tell_state(reader, view))
        else:
            feed.exempt.add(reader)
            self._run_errand(reader, feed.workflow_id, self._tell_later(feed, reader, view))

    async def _tell_later(self, feed: Feed, reader: Reader, view: View) -> None:
        backoff = Backoff()
        try:
            while True:
                try:
                    if await self._joiner.refresh(feed):
                        feed.skip_to(reader, feed.tell_state(reader, view))
                    return
                except ExecutorUnavailableError:
                    await asyncio.sleep(backoff.next())
        finally:
            if reader not in feed.readers:
                feed.exempt.discard(reader)

    def _run_errand(self, reader: Reader, workflow_id: str, work: Coroutine[object, object, None]) -> None:
        self._end_errand(reader, workflow_id)
        task = self.tasks.start(work, f"errand-{workflow_id}")
        self._errands.setdefault(reader, {})[workflow_id] = task
        task.add_done_callback(lambda done: self._errand_ended(reader, workflow_id, done))

    def _errand_ended(self, reader: Reader, workflow_id: str, task: asyncio.Task[None]) -> None:
        errands = self._errands.get(reader, {})
        if errands.get(workflow_id) is task:
            del errands[workflow_id]
            if not errands:
                del self._errands[reader]

    def _end_errand(self, reader: Reader, workflow_id: str) -> None:
        task = self._errands.get(reader, {}).get(workflow_id)
        if task is not None:
            task.cancel()
            self._errand_ended(reader, workflow_id, task)

    async def _streaming(self, feed: Feed) -> None:
        """Return when a stream that keeps `feed` up to date has stood at least once."""
        while True:
            stream = self._all or self._singles[feed.workflow_id]
            if stream.ready.is_set():
                return
            await stream.ready.wait()

    def _pin(self, workflow_id: str) -> Feed:
        self._pins[workflow_id] = self._pins.get(workflow_id, 0) + 1
        feed = self._feed_for(workflow_id)
        if self._all is None and workflow_id not in self._singles:
            self._start_single(feed)
        return feed

    def _unpin(self, workflow_id: str) -> None:
        self._pins[workflow_id] -= 1
        if not self._pins[workflow_id]:
            del self._pins[workflow_id]

    def _feed_for(self, workflow_id: str) -> Feed:
        feed = self._feeds.get(workflow_id)
        if feed is None:
            feed = Feed(
                workflow_id,
                everyone=self._everyone,
                turns=self.flusher,
                limits=self._options.ring,
                mint=self._mint,
            )
            if self._all is not None:
                feed.epoch = self._all.epoch
            self._feeds[workflow_id] = feed
            self._metrics.feeds.set(len(self._feeds))
        return feed

    def _start_single(self, feed: Feed) -> None:
        stream = self._singles[feed.workflow_id] = SingleStream(feed, self._plumbing)
        stream.start()

    def _want_all(self) -> AllStream:
        if self._all is None:
            self._all = AllStream(
                self._plumbing, feeds=self._feeds.values, feed_for=self._feed_for, began=self._end_singles
            )
            self._all.start()
        return self._all

    def _end_singles(self) -> None:
        singles, self._singles = self._singles, {}
        for stream in singles.values():
            stream.stop()

    def _end_all(self, stream: AllStream) -> None:
        self._all = None
        stream.stop()
        for workflow_id, feed in list(self._feeds.items()):
            if feed.readers or workflow_id in self._pins or self._has_errand(workflow_id):
                self._start_single(feed)
            else:
                self._drop(feed)

    def _drop(self, feed: Feed) -> None:
        del self._feeds[feed.workflow_id]
        self._idle_since.pop(feed.workflow_id, None)
        stream = self._singles.pop(feed.workflow_id, None)
        if stream is not None:
            stream.stop()
        self._metrics.feeds.set(len(self._feeds))

    async def _keep_house(self) -> None:
        now = self._clock()
        if self._all is not None:
            wanted = bool(self._everyone) or names.ALL_WORKFLOWS in self._pins
            if self._lingered(names.ALL_WORKFLOWS, wanted=wanted, now=now):
                self._end_all(self._all)
        for workflow_id, feed in list(self._feeds.items()):
            feed.ring.expire(now)
            wanted = bool(feed.readers) or workflow_id in self._pins or feed.capturing
            wanted = wanted or (self._all is not None and feed.active) or self._has_errand(workflow_id)
            if self._lingered(workflow_id, wanted=wanted, now=now):
                self._drop(feed)

    def _has_errand(self, workflow_id: str) -> bool:
        return any(workflow_id in errands for errands in self._errands.values())

    def _lingered(self, name: str, *, wanted: bool, now: float) -> bool:
        """Whether `name` has been unwanted for as long as unwanted things are kept."""
        if wanted:
            self._idle_since.pop(name, None)
            return False
        since = self._idle_since.setdefault(name, now)
        if now - since < self._options.linger:
            return False
        del self._idle_since[name]
        return True


async def _patiently(attempt: Callable[[], Awaitable[_T]], deadline: float) -> _T:
    """Try until it works, as long as the executor is away; raises ExecutorUnavailableError at `deadline`."""
    backoff = Backoff()
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                try:
                    return await attempt()
                except ExecutorUnavailableError:
                    await asyncio.sleep(backoff.next())
    except TimeoutError:
        raise ExecutorUnavailableError from None
