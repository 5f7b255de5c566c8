"""Keeps one stream of events open for good: when it breaks, it is opened again after a growing, jittered pause."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from weftline_bridge.errors import WatchLostError
from weftline_bridge.metrics import Metrics
from weftline_bridge.upstream import Created, WatchItem

_log = logging.getLogger(__name__)


class Backoff:
    """Pauses with full jitter, from `first` to `most` seconds, doubling until `reset`."""

    def __init__(self, first: float = 0.1, most: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._ceiling = first

    def next(self) -> float:
        """How long to pause now, in seconds."""
        pause = random.uniform(0, self._ceiling)
        self._ceiling = min(self._most, self._ceiling * 2)
        return pause

    def reset(self) -> None:
        """It worked: begin with short pauses again."""
        self._ceiling = self._first


async def keep_watching(
    name: str,
    *,
    open_stream: Callable[[], AsyncGenerator[WatchItem, None]],
    take: Callable[[WatchItem], None],
    lost: Callable[[], None],
    metrics: Metrics,
) -> None:
    """Hand every item of the stream to `take`, and call `lost` each time it breaks; ends only when cancelled.

    `open_stream` decides anew, each time, where the stream begins.
    """
    backoff = Backoff()
    while True:
        try:
            async with aclosing(open_stream()) as items:
                async for item in items:
                    if isinstance(item, Created):
                        backoff.reset()
                    take(item)
            _log.info("%s: the executor ended the stream", name)
        except WatchLostError as error:
            _log.info("%s: the stream was lost: %s", name, error.reason)
        except Exception:
            _log.exception("%s: the stream failed", name)
        lost()
        metrics.reconnects.inc()
        await asyncio.sleep(backoff.next())
