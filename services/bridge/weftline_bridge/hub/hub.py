"""Lets readers in and out, and tells each what it is subscribed to and how far that is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from weftline_bridge.auth import Scope
from weftline_bridge.errors import ExecutorUnavailableError
from weftline_bridge.frames import Batch
from weftline_bridge.history import RingLimits
from weftline_bridge.hub.audience import Audience, View
from weftline_bridge.hub.errands import Errands
from weftline_bridge.hub.feed import Feed
from weftline_bridge.hub.flushing import Flusher
from weftline_bridge.hub.group import Reader
from weftline_bridge.hub.joining import CatchUp, Joiner
from weftline_bridge.hub.reading import ExecutorReader
from weftline_bridge.hub.relief import Relief
from weftline_bridge.hub.roster import Roster
from weftline_bridge.hub.streams import Plumbing, Pulse
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.hub.watcher import Backoff
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol import names
from weftline_bridge.protocol.inbound import Subscribe
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import SubscribedPayload
from weftline_bridge.recorder import Recorder, RecorderLimits
from weftline_bridge.upstream import ExecutorClient

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Limits of the hub; times in seconds."""

    ring: RingLimits = field(default_factory=RingLimits)
    linger: float = 30.0
    housekeeping: float = 1.0
    recorder: RecorderLimits = field(default_factory=RecorderLimits)


class Hub:
    """All readers, and what each is subscribed to."""

    def __init__(
        self, client: ExecutorClient, mint: Mint, metrics: Metrics, options: HubOptions, *, identity: str
    ) -> None:
        self.tasks = TaskOwner()
        self.flusher = Flusher(metrics, self.tasks)
        self.changed = asyncio.Event()
        self.recorder = Recorder(options.recorder)
        self._mint = mint
        self._metrics = metrics
        self._options = options
        self._clock: Callable[[], float] = time.monotonic
        executor = ExecutorReader(client, self.tasks, metrics, self._clock)
        plumbing = Plumbing(
            client=client,
            executor=executor,
            tasks=self.tasks,
            flusher=self.flusher,
            metrics=metrics,
            clock=self._clock,
            recorder=self.recorder,
        )
        self._joiner = Joiner(executor, mint, metrics)
        self._pulse = Pulse(f"weftline:pulse:{identity}", plumbing, self.changed.set)
        self._everyone = Audience(self.flusher, mint.now)
        self._roster = Roster(plumbing, self._everyone, mint, metrics, ring=options.ring, linger=options.linger)
        self._errands = Errands(self.tasks)
        self._subscriptions: dict[Reader, dict[str, View]] = {}
        self.relief = Relief(
            self._joiner,
            self._errands,
            feeds=lambda: self.feeds,
            named=self._subscriptions,
            everyone=self._everyone,
        )
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
        return self._roster.watches_all

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """What is kept, by workflow."""
        return self._roster.feeds

    @property
    def active_workflows(self) -> int:
        """How many workflows have an active run, as far as is known."""
        if self.watches_all:
            return sum(feed.active for feed in self.feeds.values())
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
        with self._roster.pinned(workflow_id) as feed:

            async def join() -> CatchUp | None:
                await self._roster.followed(feed)
                return await self._joiner.join(
                    feed, reader, view, request.cursor, request.id, smallest=request.smallest
                )

            try:
                catch_up = await _patiently(join, deadline)
            except BaseException:
                feed.caster.detach(reader)
                raise
            self._subscriptions.setdefault(reader, {})[workflow_id] = view
            if catch_up is not None:
                self._errands.run(reader, workflow_id, self._joiner.lead(catch_up))

    async def subscribe_all(
        self, reader: Reader, request: Subscribe, deadline: float, scope: Scope | None = None
    ) -> None:
        """Answer a subscription to all workflows in `scope`; raises ExecutorUnavailableError as `subscribe` does."""
        self.unsubscribe(reader, names.ALL_WORKFLOWS)
        with self._roster.pinned_all() as stream:
            try:
                async with asyncio.timeout_at(deadline):
                    await stream.ready.wait()
            except TimeoutError:
                raise ExecutorUnavailableError from None
            payload = SubscribedPayload(stream.epoch, 0, "snapshot", command_id=request.id)
            reader.offer(Batch([self._mint.subscribed(names.ALL_WORKFLOWS, payload)]))
            self._metrics.joins.labels("all").inc()
            self.join_everyone(reader, View(request.telemetry, request.level, scope))

    async def listening(self, reader: Reader, deadline: float) -> None:
        """Return when what happens from now on will reach `reader`, if it reads all workflows; at `deadline` anyway.

        What a client asks for could else be over before the stream of all workflows stands.
        """
        stream = self._roster.all
        if stream is not None and not stream.ready.is_set() and reader in self._everyone:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await stream.ready.wait()

    def join_everyone(self, reader: Reader, view: View) -> None:
        """Deliver all workflows to `reader`, after the state of each that has an active run."""
        self.flusher.flush()
        for feed in self.feeds.values():
            feed.caster.settle(view)
        self._everyone.add(reader, view)
        self._roster.want_all()
        for feed in list(self.feeds.values()):
            if feed.active and view.covers(feed.workflow_id) and reader not in feed.caster.exempt:
                self._tell(feed, reader, view)

    def rescope(self, reader: Reader, scope: Scope | None) -> None:
        """Deliver of all workflows those in `scope` from now on, to a reader that reads all.

        What is new to it begins with its state, as when it joined.
        """
        view = self._everyone.view_of(reader)
        if view is not None and view.scope != scope:
            self.unsubscribe(reader, names.ALL_WORKFLOWS)
            self.join_everyone(reader, view._replace(scope=scope))

    def unsubscribe(self, reader: Reader, workflow_id: str) -> bool:
        """Deliver a workflow (`*`: all that are not subscribed to by name) no more; whether it was delivered."""
        named = self._subscriptions.get(reader, {})
        if workflow_id == names.ALL_WORKFLOWS:
            was_there = self._everyone.discard(reader)
            for other in {*self._errands.of(reader), *reader.cut_off} - named.keys():
                self.relief.dismiss(reader, other)
            return was_there
        if named.pop(workflow_id, None) is None:
            return False
        if not named:
            del self._subscriptions[reader]
        self.relief.dismiss(reader, workflow_id)
        feed = self.feeds.get(workflow_id)
        if feed is not None:
            feed.caster.detach(reader)
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
        for feed in self.feeds.values():
            feed.caster.settle_all()

    def heartbeat(self, reader: Reader) -> Batch:
        """A heartbeat with the heads of what `reader` is subscribed to and has been told of."""
        all_view = self._everyone.view_of(reader)
        busy = {*self._errands.of(reader), *reader.cut_off}
        if all_view is not None and all_view.scope is None and not busy and reader not in self._subscriptions:
            if self._heartbeat is None:
                self._heartbeat = self._heads({name: feed.head for name, feed in self.feeds.items()})
            return self._heartbeat
        named = self._subscriptions.get(reader, {})
        workflow_ids: Iterable[str] = named
        if all_view is not None:
            workflow_ids = [name for name in self.feeds if name in named or all_view.covers(name)]
        feeds = {name: self.feeds.get(name) for name in workflow_ids if name not in busy}
        return self._heads(
            {name: feed.head_for(reader) for name, feed in feeds.items() if feed and feed.head is not None}
        )

    def _heads(self, heads: Mapping[str, int | None]) -> Batch:
        known = {name: head for name, head in heads.items() if head is not None}
        return Batch([self._mint.heartbeat(self._pulse.epoch, known)])

    def _tell(self, feed: Feed, reader: Reader, view: View) -> None:
        if feed.state_is_fresh:
            feed.skip_to(reader, feed.tell_state(reader, view))
        else:
            feed.caster.exempt.add(reader)
            self._errands.run(reader, feed.workflow_id, self._tell_later(feed, reader, view))

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
            if reader not in feed.caster.readers:
                feed.caster.exempt.discard(reader)

    async def _keep_house(self) -> None:
        self._roster.keep_house(self._clock(), self._errands.concern)
        self.recorder.expire(self._mint.now())


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
