"""One active run: its only writer. Decides what happens next, says it as events, and acts once they are durable."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping

import msgspec

from weftline_executor.engine.attempt import MAX_MESSAGE, Attempt
from weftline_executor.engine.inputs import RunData
from weftline_executor.engine.journal import Journal
from weftline_executor.engine.launcher import Failure, Launch, PreparedNode, Success
from weftline_executor.engine.progress import ProgressReport
from weftline_executor.engine.rebuild import rebuild
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.verdict import NodeFault, clean, first_fault, json_object, outputs
from weftline_executor.graph import Frontier, Graph, NodeDef, Resolution
from weftline_executor.model.events import (
    NO_JSON,
    LogWritten,
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
    UNKNOWN_OUTCOME,
    LogLevel,
    PendingReason,
    RunState,
    SkipReason,
)
from weftline_executor.replay import RunProjection

LAUNCHES_PER_TURN = 256
MAX_UNCOMMITTED_EVENTS = 4096
MAX_CONTEXT = 8192
CANCELLED = Failure("cancelled: the run was stopped", "cancelled")


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
        self._journal = Journal(runtime.committer, self.workflow_id, self.run_id, head)
        self._frontier = Frontier(graph)
        self._data = RunData(graph, projection)
        self._prepared = PreparedNode.all(graph.nodes, runtime.catalog)
        self._ready: list[tuple[int, int, int]] = []
        self._pushed = 0
        self._unannounced: dict[int, None] = {}
        self._attempt_numbers: dict[int, int] = {}
        self._attempts: dict[int, Attempt] = {}
        self._uncommitted_outcomes = 0
        self._skipped_nodes = projection.skipped_nodes
        self._started_at = projection.started_at
        self._fault: NodeFault | None = None
        self._stop_timer: asyncio.TimerHandle | None = None
        self._advance_scheduled = False
        self._closed = False
        self.progress = ProgressReport(self, runtime)

    def begin(self, definition: bytes, *, by: str, command_id: str) -> int:
        """Writes the start of the run, and gives its seq; nodes start when it is durable."""
        self._started_at = self._runtime.now()
        seq = self._journal.next_seq()
        self._journal.append(RunStarted(seq, self._started_at, msgspec.Raw(definition), len(self.graph), by))
        self._journal.note(command_id, "start", seq)
        return seq

    def recover(self) -> None:
        """Goes on after the process died: what had finished stands, what was running is handled by its idempotency."""
        standing = rebuild(self.graph, self.projection)
        self._frontier = standing.frontier
        if self.graph.config.failure_policy == "fail_fast":
            self._fault = first_fault(self.graph, self.projection)
        unknown = any(self._prepared[node].type.idempotency == "unsafe" for node in standing.interrupted)
        for node in standing.interrupted:
            self._interrupted(node)
        for node in standing.ready:
            state = self.projection.nodes.get(self.graph.nodes[node].id)
            if state is not None and state.attempt:
                self._attempt_numbers[node] = state.attempt
            self._push(node)
        self._skip(standing.skipped)
        if self.state is RunState.RUNNING and unknown:
            self._change(RunPaused, RunState.PAUSED, by=ENGINE, reason=UNKNOWN_OUTCOME)
        self._settle()

    def _interrupted(self, node: int) -> None:
        """A node was running when the process died: it will run again, or, in a run that is stopping, never."""
        node_id = self.graph.nodes[node].id
        attempt = self.projection.nodes[node_id].attempt
        seq, now = self._journal.next_seq(), self._runtime.now()
        if self.state is RunState.STOPPING:
            self._journal.append(NodeFailed(seq, now, node_id, attempt, 0, CANCELLED.error, CANCELLED.code))
            self._uncommitted_outcomes += 1
            return
        self._attempt_numbers[node] = attempt + 1
        self._journal.append(NodePending(seq, now, node_id, attempt + 1, PendingReason.RECOVERED))
        self._push(node)

    def pause(self, *, by: str, reason: str, command_id: str) -> int:
        """Lets no further node start. Gives the seq of the event."""
        drained = not self._attempts and not self._uncommitted_outcomes
        state = RunState.PAUSED if drained else RunState.PAUSING
        seq = self._change(RunPaused, state, by=by, mode="drain", reason=reason)
        self._journal.note(command_id, "pause", seq)
        return seq

    def resume(self, *, by: str, reason: str, command_id: str) -> int:
        """Lets nodes start again. Gives the seq of the event."""
        seq = self._change(RunResumed, RunState.RUNNING, by=by, reason=reason)
        self._journal.note(command_id, "resume", seq)
        self._schedule_advance()
        return seq

    def stop(self, *, by: str, reason: str, command_id: str, grace_ms: int | None) -> int:
        """Cancels what is running and ends the run; `grace_ms` None abandons it at once. Gives the seq of the event."""
        mode = "terminate" if grace_ms is None else "graceful"
        seq = self._change(RunStopping, RunState.STOPPING, by=by, mode=mode, reason=reason)
        self._journal.note(command_id, "stop", seq)
        self._runtime.slots.forget(self._schedule_advance)
        if self._stop_timer is not None:
            self._stop_timer.cancel()
        # What a stop before has cancelled is cleaning up, and must not be cancelled in that.
        for attempt in [attempt for attempt in self._attempts.values() if not attempt.cancelled]:
            attempt.cancelled = True
            if attempt.held:
                self.finish(attempt, CANCELLED)
            elif attempt.cancel is not None:
                attempt.cancel()
        if grace_ms is None:
            self._abandon()
        elif self._attempts:
            self._stop_timer = self._runtime.loop.call_later(grace_ms / 1000, self._abandon)
        self._settle()
        return seq

    def _abandon(self) -> None:
        """Waits no longer for attempts that were cancelled; whatever they still say is dropped."""
        for attempt in list(self._attempts.values()):
            self.finish(attempt, CANCELLED)

    def _change(self, kind: type[StateChange], state: RunState, *, by: str, mode: str = "", reason: str = "") -> int:
        self.state = state
        self.progress.state_changed()
        seq = self._journal.next_seq()
        in_flight = tuple(attempt.node_id for attempt in self._attempts.values())
        self._journal.append(kind(seq, self._runtime.now(), state, by, in_flight, mode, reason))
        return seq

    async def durable(self, seq: int) -> None:
        """Waits until the event with this seq is on disk."""
        if self.projection.seq < seq:
            await self._journal.durable(seq)

    def committed(self, batch: Batch) -> None:
        """Takes in that a batch of this run is durable, and acts on it."""
        for event in batch.events:
            self.projection.apply(event)
            match event:
                case NodeSucceeded():
                    index = self._outcome_committed(event.node)
                    self._resolve(self._frontier.succeeded(index, event.handle))
                case NodeFailed():
                    index = self._outcome_committed(event.node)
                    self._resolve(self._frontier.failed(index))
                    if self.graph.config.failure_policy == "fail_fast" and self.state is not RunState.STOPPING:
                        self._fault = self._fault or NodeFault(event.node, event.error, event.code)
                case NodeRunning():
                    attempt = self._attempts.get(self.graph.index[event.node])
                    if attempt is not None and attempt.held:
                        attempt.held = False
                        self._launch(attempt)
                case NodeSkipped():
                    self.progress.finished(self.graph.index[event.node])
                case RunStarted():
                    self._resolve(self._frontier.begin())
                case RunCompleted() | RunFailed():
                    self.progress.close()
        self._journal.committed(self.projection.seq)
        self._settle()

    def _outcome_committed(self, node_id: str) -> int:
        index = self.graph.index[node_id]
        self._uncommitted_outcomes -= 1
        self.progress.finished(index)
        return index

    def _resolve(self, resolution: Resolution) -> None:
        if self._closed:
            return
        for node in resolution.ready:
            self._push(node)
        self._skip(resolution.skipped)

    def _skip(self, skipped: list[tuple[int, SkipReason]]) -> None:
        self._skipped_nodes += len(skipped)
        for node, reason in skipped:
            seq = self._journal.next_seq()
            self._journal.append(NodeSkipped(seq, self._runtime.now(), self.graph.nodes[node].id, reason))

    def _push(self, node: int) -> None:
        self._pushed += 1
        self._unannounced[node] = None
        heapq.heappush(self._ready, (-self.graph.height[node], self._pushed, node))

    def _settle(self) -> None:
        """After anything changed: starts what can start, or ends or pauses the run when nothing runs any more."""
        if self._closed:
            if self.projection.state.final and not self.ended.is_set():
                self.ended.set()
                self._runtime.on_ended(self)
            return
        halted = self._fault is not None or self.state is RunState.STOPPING
        if self.state is RunState.RUNNING and not halted:
            self._advance()
        if self._attempts or self._uncommitted_outcomes or not self.projection.seq:
            return
        if halted or (not self._ready and not self._frontier.undecided):
            self._end()
        elif self.state is RunState.PAUSING:
            self._change(RunPaused, RunState.PAUSED, by=ENGINE, mode="drain", reason=self.projection.reason)

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
        while self._ready:
            if len(self._journal) >= MAX_UNCOMMITTED_EVENTS:
                return  # their commit comes back here
            if launched == LAUNCHES_PER_TURN:
                self._schedule_advance()
                return
            if (limit and len(self._attempts) >= limit) or not self._runtime.slots.acquire(self._schedule_advance):
                self._announce_waiting()
                return
            self._start(heapq.heappop(self._ready)[2])
            launched += 1

    def _announce_waiting(self) -> None:
        """Says once of each ready node that it waits for a slot."""
        for node in self._unannounced:
            number = self._attempt_numbers.get(node, 1)
            seq, now = self._journal.next_seq(), self._runtime.now()
            self._journal.append(NodePending(seq, now, self.graph.nodes[node].id, number, PendingReason.CONCURRENCY))
        self._unannounced.clear()

    def _start(self, node: int) -> None:
        attempt = Attempt(node, self.graph.nodes[node].id, self._attempt_numbers.get(node, 1))
        self._unannounced.pop(node, None)
        self._attempts[node] = attempt
        self._journal.append(
            NodeRunning(self._journal.next_seq(), self._runtime.now(), attempt.node_id, attempt.number)
        )
        if self._prepared[node].type.idempotency == "unsafe":
            # Whether it ran must be known after a crash, so its code runs only once its start is on disk.
            attempt.held = True
        else:
            self._launch(attempt)

    def _launch(self, attempt: Attempt) -> None:
        prepared = self._prepared[attempt.index]
        inputs = self._data.inputs(self._frontier, attempt.index) if prepared.call.needs_inputs else {}
        earlier = self.projection.nodes.get(attempt.node_id) if attempt.number > 1 else None
        begun = earlier.first_started_at if earlier else None
        already_elapsed = 0.0 if begun is None else max(0.0, (self._runtime.now() - begun) / 1000)
        scope = self._data.scope(inputs)
        self._runtime.launcher.launch(
            Launch(attempt, prepared, inputs, scope, self.workflow_id, self.run_id, already_elapsed, self)
        )

    def running(self) -> dict[int, int]:
        """How long each running node has run, in ms."""
        return {node: attempt.elapsed_ms() for node, attempt in self._attempts.items()}

    def waiting(self, limit: int) -> list[int]:
        """Ready nodes that have not started, those with the longest path ahead; about `limit`."""
        return [node for _, _, node in self._ready[:limit]]

    def expected_ms(self, node: NodeDef) -> float | None:
        """How long the configuration of a node says that it takes."""
        return self._prepared[self.graph.index[node.id]].type.expected_ms(node.data)

    def finish(self, attempt: Attempt, result: Success | Failure) -> None:
        """An attempt ended; ignored when its outcome was decided before."""
        if attempt.done:
            return
        attempt.done = True
        del self._attempts[attempt.index]
        self._uncommitted_outcomes += 1
        duration = attempt.elapsed_ms()
        seq, now = self._journal.next_seq(), self._runtime.now()
        succeeded = isinstance(result, Success)
        if isinstance(result, Success):
            output = msgspec.Raw(result.output) if result.output else NO_JSON
            self._journal.append(
                NodeSucceeded(seq, now, attempt.node_id, attempt.number, duration, output, result.handle)
            )
        else:
            shown = CANCELLED if attempt.cancelled else result
            details = msgspec.Raw(shown.details) if shown.details else NO_JSON
            self._journal.append(
                NodeFailed(seq, now, attempt.node_id, attempt.number, duration, shown.error, shown.code, details)
            )
        self.progress.attempt_ended(attempt, duration, succeeded)
        self._runtime.slots.release()
        if self._ready and self.state is RunState.RUNNING:
            self._schedule_advance()

    def finish_blocked(self, attempt: Attempt, failure: Failure) -> None:
        """Fails an attempt, if it is one of this run, whose code never gives its event loop back."""
        if self._attempts.get(attempt.index) is attempt:
            self.finish(attempt, failure)

    def report_progress(self, attempt: Attempt, progress: float) -> None:
        """See Reporter."""
        if not attempt.done:
            self.progress.node_progressed(attempt, progress)

    def report_log(self, attempt: Attempt, level: str, message: str, context: Mapping[str, object]) -> None:
        """See Reporter."""
        if not attempt.done:
            encoded = json_object(context, MAX_CONTEXT) if context else NO_JSON
            text = clean(str(message), MAX_MESSAGE)
            seq, now = self._journal.next_seq(), self._runtime.now()
            self._journal.append(LogWritten(seq, now, LogLevel(level), text, attempt.node_id, encoded))

    def _end(self) -> None:
        """Skips what never ran and writes the run's one terminal event."""
        if self._stop_timer is not None:
            self._stop_timer.cancel()
        rest = sorted([node for _, _, node in self._ready] + self._frontier.skip_rest())
        self._ready.clear()
        self._skip([(node, SkipReason.RUN_STOPPED) for node in rest])
        self._closed = True
        projection = self.projection
        fault = self._fault or first_fault(self.graph, projection)
        seq, now = self._journal.next_seq(), self._runtime.now()
        if self.state is not RunState.STOPPING and fault is not None:
            self.state = RunState.ERROR
            message = f"node {fault.node_id!r} failed: {fault.error}"
            details = msgspec.Raw(msgspec.json.encode({"failedNodes": projection.failed_nodes}))
            self._journal.append(RunFailed(seq, now, message, fault.code, fault.node_id, details))
            return
        self.state = RunState.STOPPED if self.state is RunState.STOPPING else RunState.SUCCESS
        self._journal.append(
            RunCompleted(
                seq,
                now,
                self.state,
                now - self._started_at,
                len(self.graph),
                projection.completed_nodes,
                projection.failed_nodes,
                self._skipped_nodes,
                outputs(self.graph, projection),
            )
        )
