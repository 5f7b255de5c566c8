"""Lets the nodes of one run start in their order, as far as the limits of the run and of the executor allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from weftline_executor.engine.attempts import Attempts
from weftline_executor.engine.journal import Journal
from weftline_executor.engine.obstacles import Line, WaitingFor
from weftline_executor.engine.ready import ReadyQueue
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.timers import RunTimers
from weftline_executor.graph import Frontier, Graph
from weftline_executor.model.states import PendingReason

LAUNCHES_PER_TURN = 256
LOOKED_AHEAD = 256
ANNOUNCEMENTS_PER_COMMIT = 4096


class Run(Protocol):
    """What a scheduler asks of its run."""

    graph: Graph
    journal: Journal
    attempts: Attempts
    frontier: Frontier

    @property
    def may_start(self) -> bool:
        """Whether nodes may start now."""

    def settle(self) -> None:
        """Something changed: nodes may start, or the run may end."""

    def waited_too_long(self, node: int, limit: float) -> None:
        """A node found no slot for `limit` seconds, and is in the line no more."""


class Scheduler:
    """The ready nodes of a run, and those that will be when their time has come.

    `ahead` says by node how long the longest path from its start on takes; where that is longest, it starts first.
    """

    def __init__(self, run: Run, runtime: Runtime, timers: RunTimers, ahead: Sequence[float]) -> None:
        self._run = run
        self._runtime = runtime
        self._timers = timers
        self._ready = ReadyQueue(ahead)
        self._advance_scheduled = False
        self._over = False

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def waiting(self) -> bool:
        """Whether any node is ready, or will be at its time."""
        return bool(self._ready) or bool(self._timers.nodes("retry"))

    def push(self, node: int) -> None:
        """A node could start."""
        self._ready.push(node)
        limit = self._run.graph.nodes[node].policy.timeouts.queue
        if limit:
            self._timers.start("queue", node, limit, lambda: self._expire(node, limit))

    def push_at(self, node: int, due: int, since: int) -> None:
        """A node could start at the time `due`, told at the time `since`; at once when that has passed.

        Both are in ms since the Unix epoch. A clock that was set back makes the wait no longer than it was to be.
        """
        left = min(due - self._runtime.now(), due - since) if due else 0
        if left <= 0:
            self.push(node)
        else:
            self._timers.start("retry", node, left / 1000, lambda: self._retry(node))

    def take_out(self, node: int) -> bool:
        """Lets a ready node not start after all; gives whether it was ready."""
        self._timers.cancel("queue", node)
        return self._ready.take_out(node)

    def clear(self) -> list[int]:
        """Takes all nodes out and gives them."""
        later = self._timers.nodes("retry")
        for node in later:
            self._timers.cancel("retry", node)
        ready = self._ready.clear()
        for node in ready:
            self._timers.cancel("queue", node)
        return ready + later

    def first(self) -> list[int]:
        """About the first 256 ready nodes."""
        return self._ready.first(LOOKED_AHEAD)

    def line(self) -> Line:
        """All ready nodes in the order in which they will start, and which limit holds them, if one does."""
        limit = self._run.graph.config.concurrency
        holds = WaitingFor.EXECUTOR_SLOT if self._runtime.slots.waits(self.advance_soon) else WaitingFor.START
        if limit and len(self._run.attempts) >= limit:
            holds = WaitingFor.RUN_SLOT
        return Line(self._ready.line(), holds, self._run.attempts.elapsed())

    def forget_slots(self) -> None:
        """Wants no slot of the executor any more."""
        self._runtime.slots.forget(self.advance_soon)

    def let_go(self) -> None:
        """The run has ended: forgets it, since those that refer to each other are freed by the collector only."""
        self._over = True
        del self._run

    def advance_soon(self) -> None:
        """Starts what can start in the next turn of the loop."""
        if not self._advance_scheduled:
            self._advance_scheduled = True
            self._runtime.loop.call_soon(self._advance_later)

    def advance(self) -> None:
        """Starts ready nodes, the one with the longest path ahead first, as far as the limits allow."""
        run, slots, wake = self._run, self._runtime.slots, self.advance_soon
        limit = run.graph.config.concurrency
        launched = 0
        while self._ready and run.may_start and not slots.closed:
            if run.journal.full:
                return  # their commit comes back here
            if launched == LAUNCHES_PER_TURN:
                self.advance_soon()
                return
            if (limit and len(run.attempts) >= limit) or not slots.acquire(wake):
                for node in self._ready.announce(ANNOUNCEMENTS_PER_COMMIT):
                    run.attempts.pend(node, run.attempts.number(node), PendingReason.CONCURRENCY)
                return
            node = self._ready.pop()
            self._timers.cancel("queue", node)
            run.attempts.begin(node, run.frontier)
            launched += 1

    def _advance_later(self) -> None:
        self._advance_scheduled = False
        if not self._over:
            self._run.settle()
        # It may have been woken for a slot that it has no use for any more.
        self._runtime.slots.pass_on(self.advance_soon)

    def _retry(self, node: int) -> None:
        self.push(node)
        self._run.settle()

    def _expire(self, node: int, limit: float) -> None:
        if self._ready.take_out(node):
            self._run.waited_too_long(node, limit)
