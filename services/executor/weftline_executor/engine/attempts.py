"""The attempts of one run: starts them, hears them, and writes down how they end."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from weftline_executor.engine.attempt import Attempt, Reporter
from weftline_executor.engine.failing import Decision, decide
from weftline_executor.engine.inputs import RunData
from weftline_executor.engine.journal import Journal
from weftline_executor.engine.launch import Launch, PreparedNode
from weftline_executor.engine.outcome import MAX_ERROR, Failure, Result, Skipped, Success, Waiting
from weftline_executor.engine.progress import ProgressReport
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.timers import RunTimers
from weftline_executor.engine.verdict import clean, json_object
from weftline_executor.graph import Frontier, Graph
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.events import NO_JSON, LogWritten, NodeFailed, NodePending, NodeRunning, NodeSucceeded
from weftline_executor.model.states import Handling, LogLevel, PendingReason, RunState, SkipReason, SuccessReason
from weftline_executor.replay import NodeState, RunProjection

MAX_CONTEXT = 8192
MAX_MESSAGE = 8192
CANCELLED = Failure("cancelled: the run was stopped", "cancelled", retryable=False)
INTERRUPTED = Failure("the executor stopped while the node ran", "interrupted", retryable=False)
CRASH_LOOP = Failure("the executor died each time that the node ran", "crash_loop", retryable=False)
MAX_RECOVERIES = 20


class Waits(Protocol):
    """Where attempts go that wait for a word from outside."""

    def begin(self, attempt: Attempt, waiting: Waiting) -> None:
        """An attempt has come to where it waits."""


class Run(Protocol):
    """What attempts ask of their run."""

    graph: Graph
    projection: RunProjection
    progress: ProgressReport
    state: RunState
    workflow_id: str
    run_id: str

    @property
    def halted(self) -> bool:
        """Whether nothing new may start any more."""

    @property
    def winds_up(self) -> bool:
        """Whether nothing new may start, and what runs is waited for."""

    @property
    def attempts(self) -> Reporter:
        """Takes log lines."""

    @property
    def facts(self) -> Mapping[str, object]:
        """What nodes can read of the run as a whole."""

    @property
    def waits(self) -> Waits:
        """Takes attempts that wait for a word from outside."""

    def attempt_ended(self, handling: Handling) -> None:
        """The outcome of an attempt was written."""

    def skip_begun(self, node: int, reason: SkipReason) -> None:
        """A running node is skipped after all."""

    def works_on(self, node_id: str) -> bool:
        """Whether a node runs, or could."""

    def settle(self) -> None:
        """Something changed: nodes may start, or the run may end."""


class Attempts:
    """The running attempts of a run by node index; `uncommitted` counts outcomes that are not durable yet."""

    def __init__(self, run: Run, runtime: Runtime, journal: Journal, timers: RunTimers) -> None:
        self.uncommitted = 0
        self._run = run
        self._runtime = runtime
        self._journal = journal
        self._timers = timers
        self._data = RunData(run.graph, run.projection)
        self._prepared = runtime.compiler.prepared(run.graph)
        self._running: dict[int, Attempt] = {}
        self._numbers: dict[int, int] = {}
        self._recovered: set[int] = set()

    def __len__(self) -> int:
        return len(self._running)

    @property
    def busy(self) -> bool:
        """Whether an attempt runs, or the outcome of one is not durable yet.

        An attempt whose body is paused with the run counts as one that does not run.
        """
        if self.uncommitted or self._run.state not in (RunState.PAUSING, RunState.PAUSED):
            return self.uncommitted > 0 or bool(self._running)
        return not all(attempt.resting for attempt in self._running.values())

    def node_ids(self) -> tuple[str, ...]:
        """The ids of the running nodes."""
        return tuple(attempt.node_id for attempt in self._running.values())

    def let_go(self) -> None:
        """The run has ended: forgets it. Attempts that were abandoned may still call, and are not heard."""
        del self._run

    def elapsed(self) -> dict[int, int]:
        """How long each running node has run, in ms."""
        return {node: attempt.elapsed_ms() for node, attempt in self._running.items()}

    def prepared(self, node: int) -> PreparedNode:
        """What a node runs."""
        return self._prepared[node]

    def pend(self, node: int, number: int, reason: PendingReason, due: int = 0, details: bytes = b"") -> None:
        """Writes that a node waits with this attempt number, and why."""
        self._numbers[node] = number
        if reason is PendingReason.RECOVERED:
            self._recovered.add(node)
        elif reason is not PendingReason.CONCURRENCY:
            self._recovered.discard(node)
        seq, now = self._journal.next_seq(), self._runtime.now()
        raw = msgspec.Raw(details) if details else NO_JSON
        self._journal.append(NodePending(seq, now, self._run.graph.nodes[node].id, number, reason, due, raw))

    def number(self, node: int) -> int:
        """The number of a node's next attempt."""
        return self._numbers.get(node, 1)

    def continue_from(self, node: int, number: int, recovered: bool = False) -> None:
        """The next attempt of a node has this number, as an earlier life of the run has written.

        It is `recovered` where it is to follow one that was cut off even before that life.
        """
        self._numbers[node] = number
        if recovered:
            self._recovered.add(node)

    def begin(self, node: int, frontier: Frontier) -> None:
        """Starts an attempt; it has taken a slot of the executor."""
        attempt = Attempt(node, self._run.graph.nodes[node].id, self.number(node))
        attempt.recovered = node in self._recovered
        self._running[node] = attempt
        if self._run.graph.nodes[node].body:
            # Its body's nodes want slots, which it must not keep from them.
            attempt.slotless = True
            self._runtime.slots.release()
        seq, now = self._journal.next_seq(), self._runtime.now()
        self._journal.append(NodeRunning(seq, now, attempt.node_id, attempt.number))
        if self._prepared[node].idempotency == "unsafe":
            # Whether it ran must be known after a crash, so its code runs only once its start is on disk.
            attempt.held = True
        else:
            self._launch(attempt, frontier)

    def start_committed(self, node: int, frontier: Frontier) -> None:
        """The start of an attempt is durable: runs it if it waited for that."""
        attempt = self._running.get(node)
        if attempt is not None and attempt.held and not attempt.loads:
            attempt.held = False
            self._launch(attempt, frontier)

    def _launch(self, attempt: Attempt, frontier: Frontier) -> None:
        call = self._prepared[attempt.index].call
        timeouts = self._run.graph.nodes[attempt.index].policy.timeouts
        self._timers.watch(attempt, timeouts, lambda kind, limit: self._expired(attempt, kind, limit))
        edges = frontier.taken_edges(attempt.index) if call.needs_inputs else []
        wanted = self._data.artifacts(edges, call.node_ids)
        if wanted:
            attempt.held = attempt.loads = True
            self._runtime.outputs.load(wanted, lambda loaded: self._loaded(attempt, edges, loaded))
        else:
            self._run_code(attempt, edges, {})

    def _loaded(self, attempt: Attempt, edges: Sequence[int], loaded: Mapping[str, object] | Failure) -> None:
        if attempt.done:
            return
        attempt.held = attempt.loads = False
        if isinstance(loaded, Failure):
            self.finish(attempt, loaded)
        else:
            self._run_code(attempt, edges, loaded)

    def _run_code(self, attempt: Attempt, edges: Sequence[int], loaded: Mapping[str, object]) -> None:
        prepared = self._prepared[attempt.index]
        inputs = self._data.inputs(attempt.index, edges, loaded)
        earlier = self._run.projection.nodes.get(attempt.node_id) if attempt.number > 1 else None
        begun = earlier.first_started_at if earlier else None
        attempt.already_ms = 0 if begun is None else max(0, self._runtime.now() - begun)
        projection, scope = self._run.projection, self._data.scope(inputs, self._run.facts, loaded)
        ids = projection.workflow_id, projection.run_id
        body = self._runtime.bodies.of(self._run, attempt) if attempt.slotless else None
        launch = Launch(attempt, prepared, inputs, scope, *ids, self, bool(loaded), body, projection.trace)
        cache = self._run.graph.nodes[attempt.index].policy.cache
        if cache is None:
            self._runtime.launcher.launch(launch)
        else:
            self._runtime.results.launch(launch, cache.max_age)

    def cancel(self) -> None:
        """Asks all running attempts to end; one that was asked before is cleaning up and is left alone.

        Those with a body end when that has.
        """
        for attempt in [attempt for attempt in self._running.values() if not attempt.cancelled]:
            attempt.cancelled = True
            if attempt.held:
                self.finish(attempt, CANCELLED)
            elif attempt.cancel is not None and not attempt.slotless:
                attempt.cancel()

    def interrupt(self, reason: PendingReason, only: Sequence[Attempt] | None = None) -> list[int]:
        """Cancels what may run twice, to be tried again without counting as failed; gives the nodes.

        `only` limits it to some attempts, of which others may be other runs'.
        """
        interrupted = []
        for attempt in list(self._running.values()) if only is None else only:
            node = attempt.index
            if self._running.get(node) is not attempt or self._prepared[node].idempotency == "unsafe":
                continue
            if attempt.slotless and only is None:
                continue
            attempt.done = attempt.cancelled = attempt.moved = True
            if attempt.cancel is not None:
                attempt.cancel()
            del self._running[node]
            self._timers.unwatch(attempt)
            self._run.progress.interrupted(attempt)
            self._release(attempt)
            self.pend(node, attempt.number + 1, reason)
            interrupted.append(node)
            attempt.ended(None)
        return interrupted

    def abandon(self) -> None:
        """Waits no longer for attempts that were asked to end; whatever they still say is dropped."""
        for attempt in list(self._running.values()):
            self.finish(attempt, CANCELLED)

    def _release(self, attempt: Attempt) -> None:
        if not attempt.slotless:
            self._runtime.slots.release()

    def finish(self, attempt: Attempt, result: Result) -> None:
        """An attempt ended, or waits for a word from outside; ignored when its outcome was decided before.

        A large output is stored first: only then is the outcome decided, and until then the attempt counts as running.
        """
        if attempt.done:
            return
        if isinstance(result, Success) and self._runtime.outputs.too_large(result):
            attempt.hear()
            self._runtime.outputs.keep(self._run.projection.run_id, result, lambda kept: self.finish(attempt, kept))
            return
        attempt.done = True
        del self._running[attempt.index]
        self._timers.unwatch(attempt)
        duration = attempt.elapsed_ms()
        handling = Handling.NONE
        if isinstance(result, Success):
            self.succeed(attempt.index, result, duration)
        elif attempt.cancelled:
            _, handling = self.fail(attempt.index, CANCELLED, duration)
        elif isinstance(result, Waiting):
            self._run.waits.begin(attempt, result)
        elif isinstance(result, Skipped):
            self.uncommitted += 1
            self._run.skip_begun(attempt.index, result.reason)
        else:
            _, handling = self.fail(attempt.index, result, duration)
        if isinstance(result, Waiting | Skipped) or (isinstance(result, Success) and result.reason):
            self._run.progress.interrupted(attempt)
        else:
            self._run.progress.attempt_ended(attempt, duration, isinstance(result, Success))
        self._release(attempt)
        self._run.attempt_ended(handling)
        attempt.ended(result)

    def succeed(self, node: int, success: Success, duration: int, by: str = "") -> int:
        """Writes that a node succeeded, and gives the seq of the event."""
        self.uncommitted += 1
        return self._write_success(node, self.number(node), success, duration, by)

    def take_over(self, node: int, state: NodeState, artifact: Artifact | None) -> None:
        """Writes that a node has the result that it had in another run; `artifact` is this run's copy of the whole."""
        success = Success(bytes(state.output), state.handle, SuccessReason.REUSED, artifact)
        self._write_success(node, 1, success, state.duration or 0, "")

    def _write_success(self, node: int, number: int, success: Success, duration: int, by: str) -> int:
        seq, now, node_id = self._journal.next_seq(), self._runtime.now(), self._run.graph.nodes[node].id
        raw = msgspec.Raw(success.output) if success.output else NO_JSON
        event = NodeSucceeded(
            seq, now, node_id, number, duration, raw, success.handle, success.reason, by, success.artifact
        )
        self._journal.append(event, len(success.output))
        return seq

    def fail(self, node: int, failure: Failure, duration: int) -> tuple[int, Handling]:
        """Writes that a node failed, and what follows by its policy; gives the seq of the event and what follows."""
        definition, number = self._run.graph.nodes[node], self.number(node)
        state = self._run.projection.nodes.get(definition.id)
        decision = Decision(Handling.NONE)
        if failure not in (CANCELLED, INTERRUPTED) and not self._run.halted:
            decision = decide(definition.policy, failure, state.failures if state else 0, random.random)
        if decision.handling is Handling.PAUSE and self._run.state is RunState.STOPPING:
            decision = Decision(Handling.NONE)
        details = failure.details
        if decision.handling is Handling.DEFAULT_VALUE:
            details = definition.policy.default
        self.uncommitted += 1
        seq, now = self._journal.next_seq(), self._runtime.now()
        raw = msgspec.Raw(details) if details else NO_JSON
        error = clean(failure.error, MAX_ERROR)
        self._journal.append(
            NodeFailed(seq, now, definition.id, number, duration, error, failure.code, raw, decision.handling)
        )
        if decision.handling is Handling.RETRY:
            self.pend(node, number + 1, PendingReason.RETRY, now + round(decision.delay * 1000))
        return seq, decision.handling

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
