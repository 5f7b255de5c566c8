"""Follows a stream of events across broken connections: the same place, a back-off, and a limit to its patience."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import Bookmark, GapError
from weftline_cli.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Connected:
    """A watch is bound; `head` is the newest seq of the one watched workflow, 0 when there is no such workflow."""

    head: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """New events, in order."""

    events: tuple[ev.Event, ...]


@dataclass(frozen=True, slots=True)
class Replaced:
    """A snapshot, which replaces what was known of its workflow."""

    snapshot: ws.WorkflowSnapshot


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection broke; it is tried again in `retry_in_s` seconds, for the `attempt`-th time since it broke."""

    problem: str
    attempt: int
    retry_in_s: float


Item = Connected | Arrived | Replaced | Lost


class WatchSource(Protocol):
    """Where a watch is opened: the executor's client, or a script in a test."""

    @property
    def address(self) -> str:
        """Where the executor is, for messages."""

    def watch(self, request: ws.WatchEventsRequest) -> AsyncGenerator[ws.WatchEventsResponse, None]:
        """Open one watch; it raises UnavailableError when its connection breaks."""


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """How to come back: for `patience_s` seconds after a break, with full jitter under a ceiling that doubles."""

    patience_s: float = 60.0
    first_s: float = 0.25
    ceiling_s: float = 5.0

    def delay_s(self, attempt: int, luck: float) -> float:
        """Return how long to wait before the `attempt`-th try (from 1); `luck` is a random number from 0 to 1."""
        ceiling = min(self.ceiling_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return ceiling * (0.1 + 0.9 * luck)


async def follow(
    source: WatchSource,
    bookmark: Bookmark,
    policy: ReconnectPolicy,
    *,
    until_head: bool = False,
    reached: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    luck: Callable[[], float] = random.random,
) -> AsyncGenerator[Item, None]:
    """Yield what a watch brings, opening it again at the bookmark whenever it breaks.

    It ends only with `until_head`, at the head. A first watch that can't be opened raises UnavailableError at once
    unless the executor was `reached` before; a broken one does when `policy.patience_s` seconds bring nothing.
    """
    attempt, broke_at = 0, 0.0
    while True:
        try:
            async with aclosing(_opened(source, bookmark)) as items:
                async for item in items:
                    reached = True
                    if not isinstance(item, Connected):
                        attempt = 0
                    yield item
            if until_head:
                return
            problem = "it ended the stream."
        except UnavailableError as error:
            if not reached:
                raise
            problem = error.problem
        except GapError as error:
            problem = f"events are missing ({error})."
        if attempt == 0:
            broke_at = clock()
        attempt += 1
        delay_s = policy.delay_s(attempt, luck())
        if clock() + delay_s - broke_at > policy.patience_s:
            raise UnavailableError(source.address, f"gave up after {policy.patience_s:g} s: {problem}")
        yield Lost(problem, attempt, delay_s)
        await sleep(delay_s)


async def _opened(source: WatchSource, bookmark: Bookmark) -> AsyncGenerator[Item, None]:
    async with aclosing(source.watch(bookmark.request())) as stream:
        async for response in stream:
            for item in _take(bookmark, response):
                yield item


def _take(bookmark: Bookmark, response: ws.WatchEventsResponse) -> Iterator[Item]:
    if response.HasField("created"):
        bookmark.created(response.created)
        yield Connected(response.created.seq)
    if response.HasField("compacted"):
        bookmark.compacted()
    if response.HasField("snapshot"):
        bookmark.snapshot(response.snapshot, response.commit)
        yield Replaced(response.snapshot)
    if response.HasField("heartbeat"):
        bookmark.heartbeat(response.heartbeat)
        yield Arrived(())
    if response.events:
        events = bookmark.accept(response.events, response.commit)
        if events:
            yield Arrived(tuple(events))
