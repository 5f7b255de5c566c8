"""Which workflows are followed, and by which streams from the executor; what nobody needs is let go after a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from weftline_bridge.history import RingLimits
from weftline_bridge.hub.audience import Audience
from weftline_bridge.hub.feed import Feed
from weftline_bridge.hub.streams import AllStream, Plumbing, SingleStream
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.names import ALL_WORKFLOWS


class Roster:
    """The feeds and the streams that feed them.

    While `everyone` (the readers of all workflows) is not empty there is one stream for all, and else one for
    each workflow that is needed. What is needed no more lingers for `linger` seconds.
    """

    def __init__(
        self, plumbing: Plumbing, everyone: Audience, mint: Mint, metrics: Metrics, *, ring: RingLimits, linger: float
    ) -> None:
        self.feeds: dict[str, Feed] = {}
        self.all: AllStream | None = None
        self._plumbing = plumbing
        self._everyone = everyone
        self._mint = mint
        self._metrics = metrics
        self._ring = ring
        self._linger = linger
        self._singles: dict[str, SingleStream] = {}
        self._pins: dict[str, int] = {}
        self._idle_since: dict[str, float] = {}

    @property
    def watches_all(self) -> bool:
        """Whether one stream for all workflows stands."""
        return self.all is not None and self.all.ready.is_set()

    @contextmanager
    def pinned(self, workflow_id: str) -> Iterator[Feed]:
        """A workflow's feed, followed by a stream and kept at least for as long as the block runs."""
        with self._pin(workflow_id):
            feed = self._feed_for(workflow_id)
            if self.all is None and workflow_id not in self._singles:
                self._start_single(feed)
            yield feed

    @contextmanager
    def pinned_all(self) -> Iterator[AllStream]:
        """The stream of all workflows, kept at least for as long as the block runs."""
        with self._pin(ALL_WORKFLOWS):
            yield self.want_all()

    def want_all(self) -> AllStream:
        """The stream of all workflows, started if there is none; it lasts while there are readers of all."""
        if self.all is None:
            self.all = AllStream(
                self._plumbing, feeds=self.feeds.values, feed_for=self._feed_for, began=self._end_singles
            )
            self.all.start()
        return self.all

    async def followed(self, feed: Feed) -> None:
        """Return when a stream that keeps `feed` up to date has stood at least once."""
        while True:
            stream = self.all or self._singles[feed.workflow_id]
            if stream.ready.is_set():
                return
            await stream.ready.wait()

    def keep_house(self, now: float, busy: Callable[[str], bool]) -> None:
        """Let go what has not been needed for a while; `busy` tells of a workflow whether it is needed."""
        if self.all is not None:
            wanted = bool(self._everyone) or ALL_WORKFLOWS in self._pins
            if self._has_lingered(ALL_WORKFLOWS, wanted=wanted, now=now):
                self._end_all(self.all, busy)
        for workflow_id, feed in list(self.feeds.items()):
            feed.ring.expire(now)
            wanted = self._needed(feed, busy) or feed.capturing or (self.all is not None and feed.active)
            if self._has_lingered(workflow_id, wanted=wanted, now=now):
                self._drop(feed)

    @contextmanager
    def _pin(self, name: str) -> Iterator[None]:
        self._pins[name] = self._pins.get(name, 0) + 1
        try:
            yield
        finally:
            self._pins[name] -= 1
            if not self._pins[name]:
                del self._pins[name]

    def _needed(self, feed: Feed, busy: Callable[[str], bool]) -> bool:
        return bool(feed.caster.readers) or feed.workflow_id in self._pins or busy(feed.workflow_id)

    def _feed_for(self, workflow_id: str) -> Feed:
        feed = self.feeds.get(workflow_id)
        if feed is None:
            feed = Feed(
                workflow_id,
                everyone=self._everyone,
                turns=self._plumbing.flusher,
                limits=self._ring,
                mint=self._mint,
                trace=self._plumbing.recorder.workflow_followed(workflow_id, self._mint.now()),
            )
            if self.all is not None:
                feed.epoch = self.all.epoch
            self.feeds[workflow_id] = feed
            self._metrics.feeds.set(len(self.feeds))
        return feed

    def _start_single(self, feed: Feed) -> None:
        stream = self._singles[feed.workflow_id] = SingleStream(feed, self._plumbing)
        stream.start()

    def _end_singles(self) -> None:
        singles, self._singles = self._singles, {}
        for stream in singles.values():
            stream.stop()

    def _end_all(self, stream: AllStream, busy: Callable[[str], bool]) -> None:
        self.all = None
        stream.stop()
        for feed in list(self.feeds.values()):
            if not self._needed(feed, busy):
                self._drop(feed)
            elif feed.workflow_id not in self._singles:
                self._start_single(feed)

    def _drop(self, feed: Feed) -> None:
        del self.feeds[feed.workflow_id]
        self._idle_since.pop(feed.workflow_id, None)
        self._plumbing.recorder.workflow_released(feed.workflow_id, self._mint.now())
        stream = self._singles.pop(feed.workflow_id, None)
        if stream is not None:
            stream.stop()
        self._metrics.feeds.set(len(self.feeds))

    def _has_lingered(self, name: str, *, wanted: bool, now: float) -> bool:
        if wanted:
            self._idle_since.pop(name, None)
            return False
        since = self._idle_since.setdefault(name, now)
        if now - since < self._linger:
            return False
        del self._idle_since[name]
        return True
