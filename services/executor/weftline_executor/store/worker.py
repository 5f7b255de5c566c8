"""A thread that works for the event loop, one piece of work after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
_Task = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], object]]


class Worker:
    """Runs what it is given in one thread, in order; the thread begins with the first piece of work.

    An executor of `concurrent.futures` does the same with a second future and a lock around each piece, which costs
    more than twice as much: a commit is waited for by everything that follows from it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        """Puts a piece of work in the line at once, and gives what will hold what it gives or raises.

        A future that is cancelled takes nothing out of the line.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._tasks.put((loop, future, work))
        if self._thread is None:
            # A daemon, so that a store that nobody has closed does not keep the process.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        return future

    def close(self) -> None:
        """Ends the thread when it has done what is in the line; does not wait for that."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            loop, future, work = task
            result: object = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as raised:
                error = raised
            # The loop is closed when nobody waits for the rest any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, future, result, error)
            # What a task holds is not kept until the next one comes.
            del task, loop, future, work, result, error


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
