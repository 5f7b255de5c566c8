"""An engine that lives again and again over one store, with gates for nodes, a clock that is set, and sudden deaths."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVarTuple
from unittest.mock import patch

from tests.support import engine_gates
from tests.support.engine_gates import Board
from weftline_executor.engine import Engine, EngineConfig
from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.nodeloop import Done
from weftline_executor.errors import StoreUnavailable
from weftline_executor.metrics import Metrics
from weftline_executor.model.records import Batch, Retention
from weftline_executor.nodes import Registry
from weftline_executor.store import MemoryStore

SLOTS = 3
BEGINNING = 1_800_000_000_000
REST_SECONDS = 20.0
MOMENT = 0.01
"""Seconds. Who waits for less, as a commit does for others, is at work; for more it takes time that passes."""

TURNS = 4
"""How many turns of the loop in a row must find nothing to do."""

_ids = itertools.count()
Args = TypeVarTuple("Args")


class MortalStore(MemoryStore):
    """A store that is cut off with its process at a chosen append, either before or after that is kept.

    Each append takes `turns` of the event loop, in which more can happen; while it is `full` none succeeds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.appended: list[Batch] = []
        self.dead = False
        self.full = False
        self.turns = 0
        self._left: int | None = None
        self._keeps = False

    def die_at(self, appends: int, keeps: bool) -> None:
        """Lets the process die at the append after so many more; `keeps` says whether that one is still durable."""
        self._left, self._keeps = appends, keeps

    def revive(self) -> None:
        """Another process opens the store."""
        self.dead, self.full, self._left = False, False, None

    async def append(self, batches: Sequence[Batch]) -> list[Batch]:
        """See Store."""
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.full:
            raise StoreUnavailable("no space left on device")
        dies = self._left == 0
        if self._left:
            self._left -= 1
        if self.dead or (dies and not self._keeps):
            self.dead = True
            await asyncio.Event().wait()
        stored = await super().append(batches)
        self.appended += stored
        if dies:
            self.dead = True
            await asyncio.Event().wait()
        return stored


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is set forward; what waits for less than `MOMENT` waits a turn."""

    ahead = 0.0

    def time(self) -> float:
        """See AbstractEventLoop."""
        return self.ahead

    def call_later(
        self, delay: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See AbstractEventLoop."""
        return super().call_later(0 if delay < MOMENT else delay, callback, *args, context=context)


class SameLoop:
    """Stands for the engine's node loops, and runs nodes in the engine's own, so that everything has one order."""

    def __init__(self, blocked_seconds: float) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def submit(
        self, group: str, attempt: Attempt, coroutine: Coroutine[Any, Any, Any], done: Done
    ) -> Callable[[], object]:
        """See NodeLoops."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(done)
        return task.cancel

    async def watch(self, on_blocked: Callable[[Attempt, Sequence[Attempt]], None]) -> None:
        """See NodeLoops; nothing blocks here."""
        await asyncio.Event().wait()

    def stop(self) -> None:
        """See NodeLoops."""


@dataclass
class Lives:
    """One workflow in a store, and the engine that lives now. Use: `begin()`, then the rest, in the end `die()`."""

    store: MortalStore = field(default_factory=MortalStore)
    board: Board = field(default_factory=Board)
    workflow_id: str = field(default_factory=lambda: f"w{next(_ids)}")
    ahead: float = 0.0
    astray: float = 0.0
    """How many seconds the wall clock is wrong by."""

    retention: Retention = field(default_factory=lambda: Retention(1 << 60, 1 << 30, 1 << 60))
    begins: set[int] = field(default_factory=set)
    """Each number of batches that were in the store when an engine began."""

    def begin(self) -> None:
        """An engine begins to live; when it dies in that, the next one is begun."""
        engine_gates.BOARDS[self.workflow_id] = self.board
        self.loop = Loop()
        self.loop.ahead = self.ahead
        self.store.revive()
        self.begins.add(len(self.store.appended))
        self._tasks: list[asyncio.Task[Any]] = []
        self.engine = self.loop.run_until_complete(self._make())
        self.ask(self.engine.start())
        self.rest()

    async def _make(self) -> Engine:
        registry = Registry.with_builtins()
        registry.load_module(engine_gates.__name__)
        config = EngineConfig(concurrency=SLOTS, retention=self.retention)
        with patch("weftline_executor.engine.supervisor.NodeLoops", SameLoop):
            return Engine(self.store, registry, {}, Metrics(), config, self.now)

    def now(self) -> int:
        """Milliseconds since the Unix epoch, as the engine is told."""
        return BEGINNING + round((self.ahead + self.astray) * 1000)

    def ask(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begins something in the engine's loop, which goes on while that rests."""
        task = self.loop.create_task(work)
        self._tasks.append(task)
        return task

    def pass_time(self, seconds: float) -> None:
        """Sets all clocks forward."""
        self.ahead += seconds
        self.loop.ahead += seconds

    def rest(self) -> bool:
        """Waits until nothing happens any more, and gives whether the engine lives; one that died is followed."""
        self.loop.run_until_complete(self._rest())
        if self.store.dead:
            self.die()
            self.begin()
            return False
        assert not self.engine.failed.is_set()
        self._tasks.clear()
        return True

    def turn(self, turns: int) -> None:
        """Lets the loop go through some turns."""
        self.loop.run_until_complete(_sleep(turns))

    async def _rest(self) -> None:
        quiet, deadline = 0, time.monotonic() + REST_SECONDS
        while quiet < TURNS and not self.store.dead:
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._is_quiet() else 0
            assert time.monotonic() < deadline, "the engine does not come to rest"

    def _is_quiet(self) -> bool:
        idle = self.engine._committer._idle.is_set() or (self.store.full and not self.engine.healthy)
        if not idle or not all(task.done() for task in self._tasks):
            return False
        if self.loop._ready:  # type: ignore[attr-defined]
            return False
        # A node with a body waits for the run of that.
        return all(
            attempt.held or attempt.slotless or self.board.waits(run.run_id, attempt.node_id, attempt.number)
            for run in self.engine.runs.values()
            for attempt in run.attempts._running.values()
        )

    def die(self) -> None:
        """Ends the engine with no chance to do anything, and what its nodes do."""
        self.store.dead = True
        self.board.forget()
        # Whatever takes no notice of one cancellation takes notice of the next.
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(_sleep(TURNS))
        self.loop.close()


async def _sleep(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
