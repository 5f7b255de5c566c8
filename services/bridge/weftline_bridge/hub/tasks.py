"""Owns background tasks: each has a name, is ended with its owner, and its failures do not pass unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class TaskOwner:
    """Starts tasks, logs those that fail, and ends all of them with `close`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` as a task; an exception it ends with is logged."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def repeat(self, step: Callable[[], Awaitable[None]], name: str, pause: float) -> asyncio.Task[Any]:
        """Run `step` over and over, `pause` seconds apart; one that fails is logged and the next runs all the same."""
        return self.start(_repeat(step, name, pause), name)

    async def close(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("task %s failed", task.get_name(), exc_info=error)


async def _repeat(step: Callable[[], Awaitable[None]], name: str, pause: float) -> None:
    while True:
        await asyncio.sleep(pause)
        try:
            await step()
        except Exception:
            _log.exception("a step of task %s failed", name)
