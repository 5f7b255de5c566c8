"""Short tasks of the engine that nobody awaits where they start: named, awaited at the end, heard when they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class Errands:
    """The errands of an engine; `close` waits for them a while and then cancels them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def run(self, name: str, work: Coroutine[Any, Any, None], on_failure: Callable[[], object] | None = None) -> None:
        """Starts an errand; once this is closed, none.

        Calls `on_failure` when it ends with an error, so that nobody waits for it in vain.
        """
        if self._closed:
            work.close()
            return
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._done(task, on_failure))

    async def close(self, seconds: float) -> None:
        """Takes no more errands, gives those in hand so many seconds, and cancels what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None], on_failure: Callable[[], object] | None) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("%s failed", task.get_name(), exc_info=error)
            if on_failure is not None:
                on_failure()
