"""An event loop in a thread of its own for nodes' coroutines, so that one that blocks never stalls the engine."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from weftline_executor.engine.attempt import Attempt

BEAT_SECONDS = 0.25
MAX_LOOPS = 32
_log = logging.getLogger(__name__)

Done = Callable[[asyncio.Task[Any]], None]


class NodeLoop:
    """A daemon thread with an event loop, whose pulse tells whether something blocks it."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._make_task)
        self._attempts: dict[asyncio.Task[Any], Attempt] = {}
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, attempt: Attempt, coroutine: Coroutine[Any, Any, Any], done: Done) -> Callable[[], None]:
        """Runs `coroutine` and calls `done` with its task, in this loop's thread; gives a function that cancels it."""
        running: list[asyncio.Task[Any]] = []

        def begin() -> None:
            task = self._loop.create_task(coroutine, name=f"node:{attempt.node_id}")
            running.append(task)
            self._attempts[task] = attempt
            task.add_done_callback(self._forget)
            task.add_done_callback(done)

        def cancel() -> None:
            # `begin` was scheduled before, so the task exists by the time this reaches the loop.
            self._loop.call_soon_threadsafe(lambda: running[0].cancel() and None)

        self._loop.call_soon_threadsafe(begin)
        return cancel

    def blocked_by(self, seconds: float) -> Attempt | None:
        """The attempt whose code has held the loop for more than `seconds`, if one has."""
        if time.monotonic() - self._beat <= seconds:
            return None
        task = asyncio.current_task(self._loop)
        return self._attempts.get(task) if task is not None else None

    def attempts(self) -> list[Attempt]:
        """The attempts that run in this loop."""
        return list(dict.fromkeys(self._attempts.copy().values()))

    def stop(self) -> None:
        """Ends the loop when it comes to it; a blocked one dies with the process."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._pulse()
        self._loop.run_forever()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        if pending:
            self._loop.run_until_complete(asyncio.wait(pending, timeout=1))
        self._loop.close()

    def _pulse(self) -> None:
        self._beat = time.monotonic()
        self._loop.call_later(BEAT_SECONDS, self._pulse)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """A task that, when it is made within an attempt, counts as a part of it."""
        task = asyncio.Task(coroutine, loop=loop, **options)
        parent = asyncio.current_task(loop)
        if parent is not None and (attempt := self._attempts.get(parent)) is not None:
            self._attempts[task] = attempt
            task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._attempts.pop(task, None)


class NodeLoops:
    """A loop for coroutines of each of some groups, replaced when one blocks it; a coroutine blocks its own group only.

    There are `MAX_LOOPS` at most; groups that come later share those.
    """

    def __init__(self, blocked_seconds: float) -> None:
        self._blocked_seconds = blocked_seconds
        self._made = 0
        self._loops: dict[int, NodeLoop] = {}
        self._places: dict[str, int] = {}

    def submit(
        self, group: str, attempt: Attempt, coroutine: Coroutine[Any, Any, Any], done: Done
    ) -> Callable[[], None]:
        """See NodeLoop.submit."""
        place = self._places.get(group)
        if place is None:
            place = self._places[group] = len(self._places) % MAX_LOOPS
        loop = self._loops.get(place)
        if loop is None:
            loop = self._make(place)
        return loop.submit(attempt, coroutine, done)

    async def watch(self, on_blocked: Callable[[Attempt, Sequence[Attempt]], None]) -> None:
        """Goes on with a fresh loop whenever an attempt blocks one, until cancelled.

        Calls `on_blocked` with that attempt, and with those that it keeps from going on.
        """
        while True:
            await asyncio.sleep(min(1.0, self._blocked_seconds / 4))
            for place, loop in list(self._loops.items()):
                attempt = loop.blocked_by(self._blocked_seconds)
                if attempt is None:
                    continue
                _log.warning("node %r blocks its event loop; new nodes get another", attempt.node_id)
                beside = [other for other in loop.attempts() if other is not attempt]
                loop.stop()
                self._make(place)
                on_blocked(attempt, beside)

    def stop(self) -> None:
        """Ends the loops."""
        for loop in self._loops.values():
            loop.stop()

    def _make(self, place: int) -> NodeLoop:
        self._made += 1
        loop = self._loops[place] = NodeLoop(f"weftline-nodes-{self._made}")
        return loop
