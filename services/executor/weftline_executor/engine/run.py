"""One active run: its only writer. Decides what happens next, says it as events, and acts once they are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.attempts import CANCELLED, CRASH_LOOP, INTERRUPTED, MAX_RECOVERIES, Attempts
from weftline_executor.engine.journal import Journal
from weftline_executor.engine.outcome import Failure
from weftline_executor.engine.progress import ProgressReport
from weftline_executor.engine.ready import ReadyQueue
from weftline_executor.engine.rebuild import rebuild, resolve, to_reset
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.timers import RunTimers
from weftline_executor.engine.verdict import NodeFault, first_fault, terminal_event
from weftline_executor.errors import IllegalTransition
from weftline_executor.graph import Frontier, Graph, Resolution
from weftline_executor.model.events import (
    Event,
    NodeFailed,
    NodePending,
    NodeRunning,
    NodeSkipped,
    NodeSucceeded,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopping,
    StateChange,
)
from weftline_executor.model.records import Batch
from weftline_executor.model.states import (
    ENGINE,
    NODE_FAILED,
    UNKNOWN_OUTCOME,
    Handling,
    NodeStatus,
    PendingReason,
    RunState,
    SkipReason,
)
from weftline_executor.replay import RunProjection

LAUNCHES_PER_TURN = 256
LOOKED_AHEAD = 256
ANNOUNCEMENTS_PER_COMMIT = 4096
RUN = -1
"""Stands for the run itself among the timers of its nodes."""


class Run:
    """The writer of one run.

    `projection` is the run as far as it is durable; `state` is what has been decided, which may be ahead of it by the
    events that wait for their commit. Nothing that depends on an event happens before the event is durable.
    All methods are called in the engine's event loop.
    """

    def __init__(self, runtime: Runtime, graph: Graph, projection: RunProjection, head: int) -> None:
        self.graph = graph
        self.projection = projection
        self.state = projection.state
        self.workflow_id = projection.workflow_id
        self.run_id = projection.run_id
        self.ended = asyncio.Event()
        self._runtime = runtime
        self.journal = Journal(runtime.committer, self.workflow_id, self.run_id, head)
        self._timers = RunTimers(runtime.loop)
        self._frontier = Frontier(graph)
        self._ready = ReadyQueue(graph.height)
        self._on_hold: set[int] = set()
        self._again: set[int] = set()
        self.attempts = Attempts(self, runtime, self.journal, self._timers)
        self._skipped_nodes = projection.skipped_nodes
        self._started_at = projection.started_at
        self._fault: NodeFault | None = None
        self._pause = ("drain", projection.reason)
        self._advance_scheduled = False
        self._closed = False
        self.progress = ProgressReport(graph, projection, runtime, self._working)

    @property
    def halted(self) -> bool:
        """Whether nothing new may start any more: the run failed or is being stopped."""
        return self._fault is not None or self.state is RunState.STOPPING

    @property
    def waiting_nodes(self) -> int:
        """How many nodes could run and wait."""
        return len(self._ready)

    def begin(self, definition: bytes, *, by: str, command_id: str) -> int:
        """Writes the start of the run, and gives its seq; nodes start when it is durable."""
        self._started_at = self._runtime.now()
        seq = self.journal.next_seq()
        self.journal.append(RunStarted(seq, self._started_at, msgspec.Raw(definition), len(self.graph), by))
        self.journal.note(command_id, "start", seq)
        return seq

    def recover(self) -> None:
        """Goes on after the process died: what had finished stands, what was running is handled by its idempotency."""
        standing = rebuild(self.graph, self.projection)
        self._frontier = standing.frontier
        self._on_hold.update(standing.hold)
        if self.graph.config.failure_policy == "fail_fast":
            self._fault = first_fault(self.graph, self.projection)
        unknown = any(self.attempts.prepared(node).type.idempotency == "unsafe" for node in standing.interrupted)
        for node in standing.interrupted:
            self._interrupted(node)
        for node in standing.ready:
            state = self.projection.nodes.get(self.graph.nodes[node].id)
            if state is not None and state.attempt:
                self.attempts.continue_from(node, state.attempt)
            self._await_turn(node, state.due if state else 0)
        self._skip(standing.skipped)
        if unknown and self.state in (RunState.RUNNING, RunState.PAUSING) and not self.halted:
            self._change(RunPaused, RunState.PAUSED, by=ENGINE, reason=UNKNOWN_OUTCOME)
        self._arm_deadline()
        self._settle()

    def _interrupted(self, node: int) -> None:
        """A node was running when the process died: it will run again, or, in a run that is stopping, never."""
        state = self.projection.nodes[self.graph.nodes[node].id]
        self.attempts.continue_from(node, state.attempt)
        if self.halted:
            self.attempts.fail(node, CANCELLED if self.state is RunState.STOPPING else INTERRUPTED, 0)
        elif state.recoveries >= MAX_RECOVERIES:
            self.attempts.fail(node, CRASH_LOOP, 0)
        else:
            self.attempts.pend(node, state.attempt + 1, PendingReason.RECOVERED)
            self._push(node)

    def retry(self, *, by: str, reason: str, command_id: str) -> int:
        """Begins another generation of an ended run: what failed, and what that cut off, is decided anew.

        Gives the seq of the event.
        """
        reset = to_reset(self.graph, self.projection)
        standing = rebuild(self.graph, self.projection, reset)
        self._frontier = standing.frontier
        self._again.update(standing.ready)
        seq = self._change(RunResumed, RunState.RUNNING, by=by, mode="retry", reason=reason)
        self.journal.note(command_id, "retry", seq)
        for node in sorted(reset):
            state = self.projection.nodes.get(self.graph.nodes[node].id)
            if state is not None and state.status is NodeStatus.SKIPPED:
                self._skipped_nodes -= 1
            self.progress.reset(node)
            self.attempts.pend(node, state.attempt + 1 if state else 1, PendingReason.RESET)
        return seq

    def pause(self, *, by: str, reason: str, command_id: str, immediate: bool = False) -> int:
        """Lets no further node start; `immediate` also cancels what runs, to begin again on resume.

        A node that must not run twice is waited for all the same. Gives the seq of the event.
        """
        seq = self._halt(by, reason, "immediate" if immediate else "drain")
        self.journal.note(command_id, "pause", seq)
        if immediate:
            for node in self.attempts.interrupt(PendingReason.PAUSED):
                self._push(node)
            self._settle()
        return seq

    def move(self, attempts: Sequence[Attempt]) -> None:
        """Begins anew those of the attempts that are this run's and may run twice, because they can't go on."""
        moved = self.attempts.interrupt(PendingReason.RECOVERED, attempts)
        for node in moved:
            self._push(node)
        if moved:
            self._settle()

    def _halt(self, by: str, reason: str, mode: str) -> int:
        self._pause = (mode, reason)
        state = RunState.PAUSING if self.attempts.busy else RunState.PAUSED
        return self._change(RunPaused, state, by=by, mode=mode, reason=reason)

    def resume(self, *, by: str, reason: str, command_id: str) -> int:
        """Lets nodes start again, those that failed and were to wait for this too. Gives the seq of the event."""
        seq = self._change(RunResumed, RunState.RUNNING, by=by, reason=reason)
        self.journal.note(command_id, "resume", seq)
        for node in sorted(self._on_hold):
            attempt = self.projection.nodes[self.graph.nodes[node].id].attempt
            self.attempts.pend(node, attempt + 1, PendingReason.RESUMED)
            self._push(node)
        self._on_hold.clear()
        self._schedule_advance()
        return seq

    def stop(self, *, by: str, reason: str, command_id: str, grace_ms: int | None) -> int:
        """Cancels what is running and ends the run; `grace_ms` None abandons it at once. Gives the seq of the event."""
        mode = "terminate" if grace_ms is None else "graceful"
        seq = self._change(RunStopping, RunState.STOPPING, by=by, mode=mode, reason=reason)
        self.journal.note(command_id, "stop", seq)
        self._runtime.slots.forget(self._schedule_advance)
        self.attempts.cancel()
        if grace_ms is None:
            self.attempts.abandon()
        elif self.attempts:
            self._timers.start("grace", RUN, grace_ms / 1000, self.attempts.abandon)
        self._settle()
        return seq

    def _change(self, kind: type[StateChange], state: RunState, *, by: str, mode: str = "", reason: str = "") -> int:
        if self._closed:
            raise IllegalTransition(f"run {self.run_id}", self.state, kind.__name__)
        self.state = state
        self.progress.state_changed()
        seq = self.journal.next_seq()
        self.journal.append(kind(seq, self._runtime.now(), state, by, self.attempts.node_ids(), mode, reason))
        return seq

    async def durable(self, seq: int) -> None:
        """Waits until the event with this seq is on disk."""
        if self.projection.seq < seq:
            await self.journal.durable(seq)

    def committed(self, batch: Batch) -> None:
        """Takes in that a batch of this run is durable, and acts on it."""
        for event in batch.events:
            self.projection.apply(event)
            self._act_on(event)
        self.journal.committed(self.projection.seq)
        self._settle()

    def _act_on(self, event: Event) -> None:
        match event:
            case NodeSucceeded() | NodeFailed():
                self._outcome_committed(event)
            case NodeRunning():
                self.attempts.start_committed(self.graph.index[event.node], self._frontier)
            case NodePending(reason=PendingReason.RETRY):
                self._await_turn(self.graph.index[event.node], event.due)
            case NodePending(reason=PendingReason.RESET) if self.graph.index[event.node] in self._again:
                self._push(self.graph.index[event.node])
            case NodeSkipped():
                self.progress.finished(self.graph.index[event.node])
            case RunStarted():
                self._resolve(self._frontier.begin())
                self._arm_deadline()
            case RunPaused() | RunResumed():
                self._arm_deadline()
            case RunCompleted() | RunFailed():
                self.progress.close()

    def _outcome_committed(self, event: NodeSucceeded | NodeFailed) -> None:
        node = self.graph.index[event.node]
        self.attempts.uncommitted -= 1
        handled = event.handled if isinstance(event, NodeFailed) else Handling.NONE
        if handled is Handling.RETRY:
            return
        if handled is Handling.PAUSE:
            self._on_hold.add(node)
            return
        self.progress.finished(node)
        self._resolve(resolve(self._frontier, node, self.projection.nodes[event.node]))
        if isinstance(event, NodeFailed) and not handled and self.graph.config.failure_policy == "fail_fast":
            self._fail(NodeFault(event.node, event.error, event.code))

    def _fail(self, fault: NodeFault) -> None:
        """Lets nothing new start; the run ends in error when what runs has ended."""
        if self.state is not RunState.STOPPING:
            self._fault = self._fault or fault

    def _resolve(self, resolution: Resolution) -> None:
        if self._closed:
            return
        for node in resolution.ready:
            self._push(node)
        self._skip(resolution.skipped)

    def _skip(self, skipped: list[tuple[int, SkipReason]]) -> None:
        self._skipped_nodes += len(skipped)
        for node, reason in skipped:
            seq = self.journal.next_seq()
            self.journal.append(NodeSkipped(seq, self._runtime.now(), self.graph.nodes[node].id, reason))

    def _await_turn(self, node: int, due: int) -> None:
        """Makes a node ready at the time `due`, in ms since the Unix epoch; at once when that has passed."""
        if self._closed:
            return
        left = due - self._runtime.now() if due else 0
        if left <= 0:
            self._push(node)
        else:
            self._timers.start("retry", node, left / 1000, lambda: self._retry(node))

    def _retry(self, node: int) -> None:
        self._push(node)
        self._settle()

    def _push(self, node: int) -> None:
        self._ready.push(node)
        limit = self.graph.nodes[node].policy.timeouts.queue
        if limit:
            self._timers.start("queue", node, limit, lambda: self._waited_too_long(node, limit))

    def _waited_too_long(self, node: int, limit: float) -> None:
        if self._ready.take_out(node):
            failure = Failure(f"the node waited longer than {limit:g} s for a slot", "queue_timeout")
            self.attempt_ended(self.attempts.fail(node, failure, 0))

    def _arm_deadline(self) -> None:
        """Times the run's deadline while it is active."""
        self._timers.cancel("deadline", RUN)
        limit = self.graph.config.deadline
        if limit and self.projection.active_since is not None and not self._closed:
            left = limit - self.projection.active_time(self._runtime.now()) / 1000
            self._timers.start("deadline", RUN, left, lambda: self._overrun(limit))

    def _overrun(self, limit: float) -> None:
        if not self._closed and self.state is not RunState.STOPPING:
            self._fail(NodeFault("", f"the run was active for longer than its deadline of {limit:g} s", "deadline"))
            self.attempts.cancel()
            self.attempts.abandon()
            self._settle()

    def attempt_ended(self, handling: Handling) -> None:
        """The outcome of an attempt was written."""
        if handling is Handling.PAUSE and self.state is RunState.RUNNING:
            self._halt(ENGINE, NODE_FAILED, "drain")
        elif self._ready and self.state is RunState.RUNNING:
            self._schedule_advance()

    def _settle(self) -> None:
        """After anything changed: starts what can start, or ends or pauses the run when nothing runs any more."""
        if self._closed:
            if self.projection.state.final and not self.ended.is_set():
                self.ended.set()
                self._runtime.on_ended(self.projection)
            return
        if self.state is RunState.RUNNING and not self.halted:
            self._advance()
        if self.attempts.busy or not self.projection.seq or self.projection.state.final:
            return
        waits = self._ready or self._frontier.undecided or self._on_hold or self._timers.nodes("retry")
        if self.halted or not waits:
            self._end()
        elif self.state is RunState.PAUSING:
            mode, reason = self._pause
            self._change(RunPaused, RunState.PAUSED, by=ENGINE, mode=mode, reason=reason)

    def _schedule_advance(self) -> None:
        if not self._advance_scheduled:
            self._advance_scheduled = True
            self._runtime.loop.call_soon(self._advance_later)

    def _advance_later(self) -> None:
        self._advance_scheduled = False
        self._settle()
        # It may have been woken for a slot that it has no use for any more.
        self._runtime.slots.pass_on(self._schedule_advance)

    def _advance(self) -> None:
        """Starts ready nodes, the one with the longest path ahead first, as far as the limits allow."""
        limit = self.graph.config.concurrency
        launched = 0
        while self._ready and self.state is RunState.RUNNING and not self._runtime.slots.closed:
            if self.journal.full:
                return  # their commit comes back here
            if launched == LAUNCHES_PER_TURN:
                self._schedule_advance()
                return
            if (limit and len(self.attempts) >= limit) or not self._runtime.slots.acquire(self._schedule_advance):
                for node in self._ready.announce(ANNOUNCEMENTS_PER_COMMIT):
                    self.attempts.pend(node, self.attempts.number(node), PendingReason.CONCURRENCY)
                return
            node = self._ready.pop()
            self._timers.cancel("queue", node)
            self.attempts.begin(node, self._frontier)
            launched += 1

    def _working(self) -> tuple[dict[int, int], list[int]]:
        return self.attempts.elapsed(), self._ready.first(LOOKED_AHEAD)

    def _end(self) -> None:
        """Skips what never ran and writes the run's one terminal event."""
        rest = sorted(self._ready.clear() + self._timers.nodes("retry") + self._frontier.skip_rest())
        self._timers.close()
        self._skip([(node, SkipReason.RUN_STOPPED) for node in rest])
        self._closed = True
        stopping = self.state is RunState.STOPPING
        fault = None if stopping else self._fault or first_fault(self.graph, self.projection)
        self.state = RunState.STOPPED if stopping else RunState.ERROR if fault else RunState.SUCCESS
        seq, now = self.journal.next_seq(), self._runtime.now()
        duration = now - self._started_at
        self.journal.append(
            terminal_event(seq, now, self.graph, self.projection, self.state, fault, duration, self._skipped_nodes)
        )
