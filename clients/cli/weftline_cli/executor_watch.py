"""A watch by gRPC: the stream of the executor, opened at a bookmark."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Protocol

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.bookmark import Bookmark, WatchPlan
from weftline_cli.errors import UnavailableError
from weftline_cli.items import Arrived, Connected, Item, Replaced


class StreamSource(Protocol):
    """Where a stream is opened: the executor's client, or a script in a test."""

    @property
    def address(self) -> str:
        """Where the executor is, for messages."""

    def watch(self, request: ws.WatchEventsRequest) -> AsyncGenerator[ws.WatchEventsResponse, None]:
        """Open one stream; it raises UnavailableError when its connection breaks."""


class ExecutorWatch:
    """What `plan` asks for, from the executor."""

    unavailable = UnavailableError

    def __init__(self, source: StreamSource, plan: WatchPlan) -> None:
        self._source = source
        self._bookmark = Bookmark(plan)

    @property
    def address(self) -> str:
        """Where the executor is."""
        return self._source.address

    async def open(self) -> AsyncGenerator[Item, None]:
        """Open a stream where the last one broke, and yield what it brings.

        Raises UnavailableError when it breaks, GapError when events are missing, and what else the executor says.
        """
        async with aclosing(self._source.watch(self._bookmark.request())) as stream:
            async for response in stream:
                for item in _take(self._bookmark, response):
                    yield item


def _take(bookmark: Bookmark, response: ws.WatchEventsResponse) -> Iterator[Item]:
    if response.HasField("created"):
        bookmark.created(response.created)
        yield Connected(exists=response.created.seq > 0)
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
