"""The standing streams from the executor: one workflow's, everything's, and one that only tells that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

from weftline_bridge.frames import Message
from weftline_bridge.hub.feed import Feed
from weftline_bridge.hub.flushing import Flusher
from weftline_bridge.hub.reading import ExecutorReader, FeedIntake
from weftline_bridge.hub.tasks import TaskOwner
from weftline_bridge.hub.watcher import keep_watching
from weftline_bridge.metrics import Metrics
from weftline_bridge.recorder import Recorder
from weftline_bridge.upstream import (
    Arrival,
    Compacted,
    Created,
    ExecutorClient,
    Heartbeat,
    StateItem,
    WatchItem,
    WatchStart,
)


class Plumbing:
    """What every stream needs: the executor, a place for its task, and where its timing and its records go."""

    def __init__(
        self,
        *,
        client: ExecutorClient,
        executor: ExecutorReader,
        tasks: TaskOwner,
        flusher: Flusher,
        metrics: Metrics,
        clock: Callable[[], float],
        recorder: Recorder,
    ) -> None:
        self.client = client
        self.executor = executor
        self.tasks = tasks
        self.flusher = flusher
        self.metrics = metrics
        self.clock = clock
        self.recorder = recorder

    def deliver(self, feed: Feed, messages: list[Message], now: float) -> None:
        """Hand live messages to their feed, and have a hole filled if there is one."""
        if feed.take(messages, now):
            self.executor.repair(feed)
        if feed.suppressed:
            self.metrics.suppressed.inc(feed.suppressed)
            feed.suppressed = 0
        self.flusher.note(now, messages[0].timestamp_ms)


class _Stream:
    """A stream that is kept open from `start` to `stop`; `ready` is set once it can be relied on."""

    def __init__(self, name: str, plumbing: Plumbing) -> None:
        self.ready = asyncio.Event()
        self.stopped = False
        self._name = name
        self._plumbing = plumbing
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        work = keep_watching(
            self._name, open_stream=self._open, take=self._take_live, lost=self._lost, metrics=self._plumbing.metrics
        )
        self._task = self._plumbing.tasks.start(work, self._name)

    def stop(self) -> None:
        """Take no item more, and wake up whoever waits for this stream."""
        self.stopped = True
        self.ready.set()
        if self._task is not None:
            self._task.cancel()

    def _take_live(self, item: WatchItem) -> None:
        if not self.stopped:
            self._take(item)

    def _open(self) -> AsyncGenerator[WatchItem, None]:
        raise NotImplementedError

    def _take(self, item: WatchItem) -> None:
        raise NotImplementedError

    def _lost(self) -> None:
        """The stream broke."""


class SingleStream(_Stream):
    """Keeps one feed up to date."""

    def __init__(self, feed: Feed, plumbing: Plumbing) -> None:
        super().__init__(f"watch-{feed.workflow_id}", plumbing)
        self._feed = feed
        self._intake = FeedIntake(feed, plumbing.clock)

    def _open(self) -> AsyncGenerator[WatchItem, None]:
        feed = self._feed
        self._intake = FeedIntake(feed, self._plumbing.clock)
        if feed.head is None:
            return self._plumbing.client.watch(WatchStart(feed.workflow_id))
        return self._plumbing.client.watch(WatchStart(feed.workflow_id, "cursor", feed.epoch, feed.head))

    def _take(self, item: WatchItem) -> None:
        feed = self._feed
        if isinstance(item, Arrival):
            self._plumbing.deliver(feed, list(item.messages), self._plumbing.clock())
        elif isinstance(item, Heartbeat):
            if feed.head is not None and item.epoch == feed.epoch and item.seq > feed.head:
                self._plumbing.executor.repair(feed)
        else:
            self._intake.take(item)
        if feed.head is not None:
            self.ready.set()


class AllStream(_Stream):
    """Keeps the feeds of all workflows up to date, and makes a feed for each that it hears of.

    `began` is called each time when the stream stands, before any of its items is applied: from then on no
    other stream may deliver.
    """

    def __init__(
        self,
        plumbing: Plumbing,
        *,
        feeds: Callable[[], Iterable[Feed]],
        feed_for: Callable[[str], Feed],
        began: Callable[[], None],
    ) -> None:
        super().__init__("watch-all", plumbing)
        self.epoch = ""
        self._feeds = feeds
        self._feed_for = feed_for
        self._began = began
        self._commit: int | None = None
        self._from_snapshot = True
        self._reason = ""

    def _open(self) -> AsyncGenerator[WatchItem, None]:
        self._reason = ""
        self._from_snapshot = self._commit is None
        if self._commit is None:
            return self._plumbing.client.watch(WatchStart(""))
        return self._plumbing.client.watch(WatchStart("", "cursor", self.epoch, self._commit))

    def _take(self, item: WatchItem) -> None:
        if isinstance(item, Arrival):
            self._deliver(item)
        elif isinstance(item, StateItem):
            feed = self._feed_for(item.state.workflow_id)
            if not feed.capturing:
                feed.adopt(item.state, self._reason)
        elif isinstance(item, Created):
            self._begin(item)
        elif isinstance(item, Compacted):
            self._reason = item.reason
            self._start_over()
        elif self._commit is None:
            self._commit = item.commit

    def _begin(self, item: Created) -> None:
        moved = bool(self.epoch) and item.epoch != self.epoch
        self.epoch = item.epoch
        self._began()
        if self._from_snapshot or moved:
            self._start_over()
        self.ready.set()

    def _start_over(self) -> None:
        """What the feeds have and what comes now may not join up: see to each of them."""
        self._commit = None
        for feed in list(self._feeds()):
            self._plumbing.executor.repair(feed)

    def _deliver(self, item: Arrival) -> None:
        groups: dict[str, list[Message]] = {}
        for message in item.messages:
            group = groups.get(message.workflow_id)
            if group is None:
                group = groups[message.workflow_id] = []
            group.append(message)
        now = self._plumbing.clock()
        for workflow_id, messages in groups.items():
            self._plumbing.deliver(self._feed_for(workflow_id), messages, now)
        if item.commit:
            self._commit = item.commit


class Pulse(_Stream):
    """Watches a workflow that nobody runs, so that only heartbeats come: is the executor there, and how is it?"""

    def __init__(self, workflow_id: str, plumbing: Plumbing, changed: Callable[[], None]) -> None:
        super().__init__("watch-pulse", plumbing)
        self.connected = False
        self.epoch = ""
        self.active_workflows = 0
        self._workflow_id = workflow_id
        self._changed = changed

    def _open(self) -> AsyncGenerator[WatchItem, None]:
        return self._plumbing.client.watch(WatchStart(self._workflow_id, "now", telemetry=False))

    def _take(self, item: WatchItem) -> None:
        if isinstance(item, (Created, Heartbeat)):
            self.epoch = item.epoch
        if isinstance(item, Heartbeat):
            self.active_workflows = item.active_workflows
        if not self.connected:
            self._set(connected=True)

    def _lost(self) -> None:
        if self.connected:
            self._set(connected=False)

    def _set(self, *, connected: bool) -> None:
        self.connected = connected
        self._plumbing.metrics.connected.set(connected)
        self._changed()
