"""The attempts of one run: starts them, hears them, and writes down how they end."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.failing import Decision, decide
from weftline_executor.engine.inputs import RunData
from weftline_executor.engine.journal import Journal
from weftline_executor.engine.launch import Launch, PreparedNode
from weftline_executor.engine.outcome import Failure, Success
from weftline_executor.engine.progress import ProgressReport
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.timers import RunTimers
from weftline_executor.engine.verdict import clean, json_object
from weftline_executor.graph import Frontier, Graph
from weftline_executor.model.events import NO_JSON, LogWritten, NodeFailed, NodePending, NodeRunning, NodeSucceeded
from weftline_executor.model.states import Handling, LogLevel, PendingReason
from weftline_executor.replay import RunProjection

MAX_CONTEXT = 8192
MAX_MESSAGE = 8192
CANCELLED = Failure("cancelled: the run was stopped", "cancelled", retryable=False)
INTERRUPTED = Failure("the executor stopped while the node ran", "interrupted", retryable=False)
CRASH_LOOP = Failure("the executor died each time that the node ran", "crash_loop", retryable=False)
MAX_RECOVERIES = 20


class Run(Protocol):
    """What attempts ask of their run."""

    graph: Graph
    projection: RunProjection
    progress: ProgressReport

    @property
    def halted(self) -> bool:
        """Whether nothing new may start any more."""

    def attempt_ended(self, handling: Handling) -> None:
        """The outcome of an attempt was written."""


class Attempts:
    """The running attempts of a run by node index; `uncommitted` counts outcomes that are not durable yet."""

    def __init__(self, run: Run, runtime: Runtime, journal: Journal, timers: RunTimers) -> None:
        self.uncommitted = 0
        self._run = run
        self._runtime = runtime
        self._journal = journal
        self._timers = timers
        self._data = RunData(run.graph, run.projection)
        self._prepared = PreparedNode.all(run.graph.nodes, runtime.catalog)
        self._running: dict[int, Attempt] = {}
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def busy(self) -> bool:
        """Whether an attempt runs, or the outcome of one is not durable yet."""
        return bool(self._running) or self.uncommitted > 0

    def node_ids(self) -> tuple[str, ...]:
        """The ids of the running nodes."""
        return tuple(attempt.node_id for attempt in self._running.values())

    def elapsed(self) -> dict[int, int]:
        """How long each running node has run, in ms."""
        return {node: attempt.elapsed_ms() for node, attempt in self._running.items()}

    def prepared(self, node: int) -> PreparedNode:
        """What a node runs."""
        return self._prepared[node]

    def pend(self, node: int, number: int, reason: PendingReason, due: int = 0) -> None:
        """Writes that a node will be tried with this attempt number, and why not now."""
        self._numbers[node] = number
        seq, now = self._journal.next_seq(), self._runtime.now()
        self._journal.append(NodePending(seq, now, self._run.graph.nodes[node].id, number, reason, due))

    def number(self, node: int) -> int:
        """The number of a node's next attempt."""
        return self._numbers.get(node, 1)

    def continue_from(self, node: int, number: int) -> None:
        """The next attempt of a node has this number, as an earlier life of the run has written."""
        self._numbers[node] = number

    def begin(self, node: int, frontier: Frontier) -> None:
        """Starts an attempt; it has taken a slot of the executor."""
        attempt = Attempt(node, self._run.graph.nodes[node].id, self.number(node))
        self._running[node] = attempt
        seq, now = self._journal.next_seq(), self._runtime.now()
        self._journal.append(NodeRunning(seq, now, attempt.node_id, attempt.number))
        if self._prepared[node].type.idempotency == "unsafe":
            # Whether it ran must be known after a crash, so its code runs only once its start is on disk.
            attempt.held = True
        else:
            self._launch(attempt, frontier)

    def start_committed(self, node: int, frontier: Frontier) -> None:
        """The start of an attempt is durable: runs it if it waited for that."""
        attempt = self._running.get(node)
        if attempt is not None and attempt.held:
            attempt.held = False
            self._launch(attempt, frontier)

    def _launch(self, attempt: Attempt, frontier: Frontier) -> None:
        prepared = self._prepared[attempt.index]
        inputs = self._data.inputs(frontier, attempt.index) if prepared.call.needs_inputs else {}
        earlier = self._run.projection.nodes.get(attempt.node_id) if attempt.number > 1 else None
        begun = earlier.first_started_at if earlier else None
        already_elapsed = 0.0 if begun is None else max(0.0, (self._runtime.now() - begun) / 1000)
        timeouts = self._run.graph.nodes[attempt.index].policy.timeouts
        self._timers.watch(attempt, timeouts, lambda kind, limit: self._expired(attempt, kind, limit))
        projection, scope = self._run.projection, self._data.scope(inputs)
        self._runtime.launcher.launch(
            Launch(attempt, prepared, inputs, scope, projection.workflow_id, projection.run_id, already_elapsed, self)
        )

    def cancel(self) -> None:
        """Asks all running attempts to end; one that was asked before is cleaning up and is left alone."""
        for attempt in [attempt for attempt in self._running.values() if not attempt.cancelled]:
            attempt.cancelled = True
            if attempt.held:
                self.finish(attempt, CANCELLED)
            elif attempt.cancel is not None:
                attempt.cancel()

    def interrupt(self, reason: PendingReason, only: Sequence[Attempt] | None = None) -> list[int]:
        """Cancels what may run twice, to be tried again without counting as failed; gives the nodes.

        `only` limits it to some attempts, of which others may be other runs'.
        """
        interrupted = []
        for attempt in list(self._running.values()) if only is None else only:
            node = attempt.index
            if self._running.get(node) is not attempt or self._prepared[node].type.idempotency == "unsafe":
                continue
            attempt.done = attempt.cancelled = True
            if attempt.cancel is not None:
                attempt.cancel()
            del self._running[node]
            self._timers.unwatch(attempt)
            self._run.progress.interrupted(attempt)
            self._runtime.slots.release()
            self.pend(node, attempt.number + 1, reason)
            interrupted.append(node)
        return interrupted

    def abandon(self) -> None:
        """Waits no longer for attempts that were asked to end; whatever they still say is dropped."""
        for attempt in list(self._running.values()):
            self.finish(attempt, CANCELLED)

    def finish(self, attempt: Attempt, result: Success | Failure) -> None:
        """An attempt ended; ignored when its outcome was decided before."""
        if attempt.done:
            return
        attempt.done = True
        del self._running[attempt.index]
        self._timers.unwatch(attempt)
        duration = attempt.elapsed_ms()
        handling = Handling.NONE
        if isinstance(result, Success):
            self.uncommitted += 1
            seq, now = self._journal.next_seq(), self._runtime.now()
            output = msgspec.Raw(result.output) if result.output else NO_JSON
            succeeded = NodeSucceeded(seq, now, attempt.node_id, attempt.number, duration, output, result.handle)
            self._journal.append(succeeded, len(result.output))
        else:
            handling = self.fail(attempt.index, CANCELLED if attempt.cancelled else result, duration)
        self._run.progress.attempt_ended(attempt, duration, isinstance(result, Success))
        self._runtime.slots.release()
        self._run.attempt_ended(handling)

    def fail(self, node: int, failure: Failure, duration: int) -> Handling:
        """Writes that a node failed, and what follows by its policy."""
        definition, number = self._run.graph.nodes[node], self.number(node)
        state = self._run.projection.nodes.get(definition.id)
        decision = Decision(Handling.NONE)
        if failure is not CANCELLED and not self._run.halted:
            decision = decide(definition.policy, failure, state.failures if state else 0, random.random)
        details = failure.details
        if decision.handling is Handling.DEFAULT_VALUE:
            details = definition.policy.default
        self.uncommitted += 1
        seq, now = self._journal.next_seq(), self._runtime.now()
        raw = msgspec.Raw(details) if details else NO_JSON
        self._journal.append(
            NodeFailed(seq, now, definition.id, number, duration, failure.error, failure.code, raw, decision.handling)
        )
        if decision.handling is Handling.RETRY:
            self.pend(node, number + 1, PendingReason.RETRY, now + round(decision.delay * 1000))
        return decision.handling

    def finish_blocked(self, attempt: Attempt, failure: Failure) -> None:
        """Fails an attempt, if it is one of this run, whose code never gives its event loop back."""
        if self._running.get(attempt.index) is attempt:
            self.finish(attempt, failure)

    def _expired(self, attempt: Attempt, kind: str, limit: float) -> None:
        what = f"took longer than {limit:g} s" if kind == "attempt" else f"reported nothing for {limit:g} s"
        self.finish(attempt, Failure(f"the attempt {what}", f"{kind}_timeout"))
        # Only now: what it was cancelled for is written, and what it still says is dropped.
        attempt.cancelled = True
        if attempt.cancel is not None:
            attempt.cancel()

    def report_progress(self, attempt: Attempt) -> None:
        """See Reporter."""
        if not attempt.done:
            attempt.hear()
            self._run.progress.node_progressed(attempt)

    def report_log(self, attempt: Attempt, level: str, message: str, context: Mapping[str, object]) -> None:
        """See Reporter."""
        if not attempt.done and (self._runtime.committer.healthy or not self._journal.full):
            # While the log can't be written, what nodes say would only fill the memory.
            attempt.hear()
            encoded = json_object(context, MAX_CONTEXT) if context else NO_JSON
            text = clean(str(message), MAX_MESSAGE)
            seq, now = self._journal.next_seq(), self._runtime.now()
            self._journal.append(LogWritten(seq, now, LogLevel(level), text, attempt.node_id, encoded))
