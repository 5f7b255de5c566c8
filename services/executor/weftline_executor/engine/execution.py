"""What an active run does by itself: decides what happens next, says it as events, and acts once they are durable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from weftline_executor.engine.attempts import Attempts
from weftline_executor.engine.deadline import DEADLINE, Deadline
from weftline_executor.engine.finale import Ending, write_end
from weftline_executor.engine.journal import Journal
from weftline_executor.engine.obstacles import Obstacle, WaitingFor, obstacles
from weftline_executor.engine.outcome import Failure
from weftline_executor.engine.progress import ProgressReport
from weftline_executor.engine.rebuild import rebuild, resolve
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.scheduler import Scheduler
from weftline_executor.engine.takeup import take_up
from weftline_executor.engine.timers import RUN, RunTimers
from weftline_executor.engine.verdict import Counts, NodeFault, first_fault, fitting, overrun
from weftline_executor.engine.waits import Waits
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
    StateChange,
)
from weftline_executor.model.records import Batch
from weftline_executor.model.states import (
    ENGINE,
    NODE_FAILED,
    Handling,
    NodeStatus,
    PendingReason,
    RunState,
    SkipReason,
    SuccessReason,
)
from weftline_executor.replay import RunProjection

GRACE_SECONDS = 30.0
MAX_IN_FLIGHT = 32 << 10
"""How many bytes of ids an event names nodes in flight with; of more than that fit, the others are left out."""

TERMINATE = "terminate"


class Execution:
    """The part of a run's writer that needs nobody's command.

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
        self.frontier = Frontier(graph)
        self.journal = Journal(runtime.committer, self.workflow_id, self.run_id, head)
        self._runtime = runtime
        self._timers = RunTimers(runtime.loop)
        spent = 0.0 if self.state.final else projection.active_time(runtime.now()) / 1000
        self._deadline = Deadline(self._timers, graph.config.deadline, spent)
        self.progress = ProgressReport(graph, projection, runtime, self._working)
        self.scheduler = Scheduler(self, runtime, self._timers, self.progress.ahead)
        self.attempts = Attempts(self, runtime, self.journal, self._timers)
        self.waits = Waits(self, self._timers, runtime.now)
        self.on_hold: set[int] = set()
        self._again: set[int] = set()
        self._skipping: set[int] = set()
        self._skipped_nodes = projection.skipped_nodes
        # Nodes that are skipped though they had ended: they were to begin again, which may not be durable yet.
        self._taken_back: set[int] = set()
        # How old the run is, in ms, at `_since`: only within a life is there a clock that nobody sets.
        self._age = max(0, runtime.now() - projection.started_at) if projection.seq else 0
        self._since = self._timers.time()
        self._fault: NodeFault | None = None
        self._pause = ("drain", projection.reason)
        self._grace = GRACE_SECONDS
        self.terminated = self.state is RunState.STOPPING and projection.mode == TERMINATE
        self._abandoned = self.terminated
        self._closed = False

    @property
    def halted(self) -> bool:
        """Whether nothing new may start any more: the run failed or is being stopped, and has no `finally` left."""
        return (self._fault is not None or self.state is RunState.STOPPING) and not self.frontier.finishing

    @property
    def winds_up(self) -> bool:
        """Whether nothing new may start, and what runs is waited for."""
        return self.halted and not self._abandoned

    @property
    def may_start(self) -> bool:
        """Whether nodes may start now."""
        if self.frontier.finishing:
            return self.state in (RunState.RUNNING, RunState.STOPPING) and not self.terminated
        return self.state is RunState.RUNNING and self._fault is None

    @property
    def facts(self) -> Mapping[str, object]:
        """What nodes can read of the run as a whole."""
        outcome = "error" if self._fault else "success" if self.frontier.finishing else "running"
        return {
            "id": self.run_id,
            "workflowId": self.workflow_id,
            "status": "stopped" if self.state is RunState.STOPPING else outcome,
            "error": self._fault.error if self._fault else "",
            "failedNode": self._fault.node_id if self._fault else "",
        }

    def _push_all(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self.scheduler.push(node)

    def _halt(self, by: str, reason: str, mode: str) -> int:
        self._pause = (mode, reason)
        state = RunState.PAUSING if self.attempts.busy else RunState.PAUSED
        return self._change(RunPaused, state, by=by, mode=mode, reason=reason)

    def _out_of_grace(self) -> None:
        # A stop may have terminated the run meanwhile, and that is not taken back.
        self.terminated = self.terminated or self.frontier.finishing
        self._abandon()
        self.settle()

    def _abandon(self) -> None:
        """Waits for nothing that runs any longer."""
        self._abandoned = True
        self._runtime.bodies.stopped(self, None)
        self.attempts.cancel()
        self.attempts.abandon()

    def skip_begun(self, node: int, reason: SkipReason) -> None:
        """A running node is skipped after all."""
        self._skipping.add(node)
        self._skip([(node, reason)])

    def _change(
        self, kind: type[StateChange], state: RunState, *, by: str, mode: str = "", reason: str = "", attempt: int = 0
    ) -> int:
        if self._closed:
            raise IllegalTransition(f"run {self.run_id}", self.state, kind.__name__)
        self.state = state
        self.progress.state_changed()
        seq = self.journal.next_seq()
        in_flight = fitting(self.attempts.node_ids(), MAX_IN_FLIGHT)
        self.journal.append(kind(seq, self._runtime.now(), state, by, in_flight, mode, reason, attempt))
        if state is RunState.RUNNING:
            self._runtime.bodies.resumed(self)
        elif state is not RunState.STOPPING:
            self._runtime.bodies.paused(self, mode == "immediate")
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
        if isinstance(batch.events[0], RunStarted):
            self._started()
        self.settle()

    def _started(self) -> None:
        """Nodes may start; results that the run takes over are durable with its start."""
        if self.projection.rerun_of:
            standing = rebuild(self.graph, self.projection)
            self.frontier = standing.frontier
            self._skip(take_up(self, standing))
        else:
            self._resolve(self.frontier.begin())
        self._time_deadline()

    def _act_on(self, event: Event) -> None:
        match event:
            case NodeSucceeded(reason=SuccessReason.REUSED):
                self.progress.finished(self.graph.index[event.node])
            case NodeSucceeded() | NodeFailed():
                self._outcome_committed(event)
            case NodeRunning():
                self.attempts.start_committed(self.graph.index[event.node], self.frontier)
            case NodePending(reason=PendingReason.RETRY):
                self._retry_at(self.graph.index[event.node], event.due, event.at)
            case NodePending(reason=PendingReason.RESET) if self.graph.index[event.node] in self._again:
                self.scheduler.push(self.graph.index[event.node])
            case NodeSkipped():
                self._skip_committed(self.graph.index[event.node])
            case RunPaused() | RunResumed():
                self._time_deadline()
            case RunCompleted() | RunFailed():
                self.progress.close()

    def _outcome_committed(self, event: NodeSucceeded | NodeFailed) -> None:
        node = self.graph.index[event.node]
        self.attempts.uncommitted -= 1
        handled = event.handled if isinstance(event, NodeFailed) else Handling.NONE
        if handled is Handling.RETRY:
            return
        if handled is Handling.PAUSE:
            if self.state is RunState.STOPPING:
                return  # nobody will resume it
            self.on_hold.add(node)
            if self.state is RunState.RUNNING and not self.halted:
                # The run was resumed before its pause was durable.
                self._try_held()
            return
        self.progress.finished(node)
        self._resolve(resolve(self.frontier, node, self.projection.nodes[event.node]))
        if isinstance(event, NodeFailed) and not handled and self.graph.config.failure_policy == "fail_fast":
            self._fail(NodeFault(event.node, event.error, event.code))

    def _try_held(self) -> None:
        """Lets the nodes that failed, and were to wait for a resume, begin again."""
        for node in sorted(self.on_hold):
            attempt = self.projection.nodes[self.graph.nodes[node].id].attempt
            self.attempts.pend(node, attempt + 1, PendingReason.RESUMED)
            self.scheduler.push(node)
        self.on_hold.clear()

    def _skip_committed(self, node: int) -> None:
        self.progress.finished(node)
        if node in self._skipping:
            self._skipping.remove(node)
            self.attempts.uncommitted -= 1
            self._resolve(self.frontier.skipped(node))

    def _retry_at(self, node: int, due: int, since: int) -> None:
        if not self._closed:
            self.scheduler.push_at(node, due, since)

    def _fail(self, fault: NodeFault) -> None:
        """Lets nothing new start; the run ends in error when what runs has ended."""
        if self.state is not RunState.STOPPING:
            self._fault = self._fault or fault

    def _resolve(self, resolution: Resolution) -> None:
        if not self._closed:
            self._push_all(resolution.ready)
            self._skip(resolution.skipped)

    def _skip(self, skipped: Sequence[tuple[int, SkipReason]]) -> None:
        self._skipped_nodes += len(skipped)
        for node, reason in skipped:
            known = self.projection.nodes.get(self.graph.nodes[node].id)
            if known is not None and known.status in (NodeStatus.SUCCESS, NodeStatus.ERROR):
                self._taken_back.add(node)
            seq = self.journal.next_seq()
            self.journal.append(NodeSkipped(seq, self._runtime.now(), self.graph.nodes[node].id, reason))

    def waited_too_long(self, node: int, limit: float) -> None:
        """A node found no slot for `limit` seconds."""
        failure = Failure(f"the node waited longer than {limit:g} s for a slot", "queue_timeout")
        self.attempt_ended(self.attempts.fail(node, failure, 0)[1])

    def _time_deadline(self) -> None:
        """Lets the run's deadline come closer while it is active; the `finally` nodes are not bound by it."""
        active = self.projection.active_since is not None
        self._deadline.active(active and not self._closed and not self.frontier.finishing, self._overrun)

    def _overrun(self) -> None:
        if not self._closed and self.state is not RunState.STOPPING:
            self._fail(overrun(self.graph))
            self._abandon()
            self.settle()

    def attempt_ended(self, handling: Handling) -> None:
        """The outcome of an attempt was written."""
        if handling is Handling.PAUSE and self.state is RunState.RUNNING:
            self._halt(ENGINE, NODE_FAILED, "drain")
        elif self.scheduler and self.may_start:
            self.scheduler.advance_soon()

    def settle(self) -> None:
        """After anything changed: starts what can start, or ends or pauses the run when nothing runs any more."""
        if self._closed:
            if self.projection.state.final and not self.ended.is_set():
                self.ended.set()
                self._runtime.on_ended(self.projection)
                for part in (self.scheduler, self.attempts, self.waits):
                    part.let_go()
            return
        if self.may_start:
            self.scheduler.advance()
        if self.attempts.busy or not self.projection.seq or self.projection.state.final:
            return
        if self.state is RunState.PAUSED and not self.halted:
            return  # what was completed meanwhile may have been the last; the run ends when it is resumed
        waits = self.scheduler.waiting or self.frontier.undecided or self.on_hold or self.waits
        if not self.attempts and (self.halted or self.terminated or not waits):
            if self._bodies_clean_up():
                return  # the end of each of them comes back here
            if self.frontier.has_finals and not self.frontier.finishing and not self.terminated:
                self._finish_up()
            else:
                self._end()
        elif self.state is RunState.PAUSING:
            mode, reason = self._pause
            self._change(RunPaused, RunState.PAUSED, by=ENGINE, mode=mode, reason=reason)

    def _bodies_clean_up(self) -> bool:
        """Whether there are bodies whose node had not begun again after a crash; they are stopped, and waited for."""
        bodies = self._runtime.bodies
        if self._abandoned:
            return False
        if not bodies.adopted and any(node.body for node in self.graph.nodes):
            return True  # there may be some
        if not bodies.wind_up(self, round(self._grace * 1000)):
            return False
        if not self._timers.nodes("grace"):
            self._timers.start("grace", RUN, self._grace, self._out_of_grace)
        return True

    def works_on(self, node_id: str) -> bool:
        """Whether a node runs, or could."""
        return node_id in self.attempts.node_ids() or self.graph.index[node_id] in self.scheduler.line().nodes

    def obstacles(self) -> dict[int, Obstacle]:
        """By index, what each node waits for that has not ended and does not run."""
        if self._closed or self.projection.state.final:
            return {}
        line = self.scheduler.line()
        if self.halted or self.terminated:
            line = replace(line, holds=WaitingFor.END)
        elif not self.may_start:
            line = replace(line, holds=WaitingFor.RESUME)
        return obstacles(self.graph, self.projection, self.frontier, line)

    def _working(self) -> tuple[dict[int, int], list[int]]:
        return self.attempts.elapsed(), self.scheduler.first()

    def _skip_rest(self, but_finals: bool) -> None:
        rest = self.scheduler.clear() + self.waits.clear() + self.frontier.skip_rest(but_finals)
        self._skip([(node, SkipReason.RUN_STOPPED) for node in sorted(rest)])

    def _finish_up(self) -> None:
        """All but the `finally` nodes has come to its end: lets those run."""
        self._skip_rest(but_finals=True)
        self.on_hold.clear()
        if self.state is not RunState.STOPPING:
            self._fault = self._fault or first_fault(self.graph, self.projection)
        self._deadline.active(False, self._overrun)
        self._timers.cancel("grace", RUN)
        self._bound_finals()
        self._resolve(self.frontier.finish())
        self.settle()

    def _bound_finals(self) -> None:
        """Gives the `finally` nodes of a run that should have ended already as long as its cleanup."""
        if self.state is RunState.STOPPING or (self._fault and self._fault.code == DEADLINE):
            self._timers.start("grace", RUN, self._grace, self._out_of_grace)

    def _end(self) -> None:
        """Skips what never ran and writes the run's one terminal event."""
        self._skip_rest(but_finals=False)
        self._timers.close()
        self._closed = True
        stopping = self.state is RunState.STOPPING
        fault = None if stopping else self._fault or first_fault(self.graph, self.projection)
        ending = Ending(stopping, fault, self._elapsed_ms, self._counts())
        self.state = write_end(self._runtime, self.journal, self.graph, self.projection, ending)

    def _counts(self) -> Counts:
        states = self.projection.nodes
        back = [states[self.graph.nodes[node].id].status for node in self._taken_back]
        return Counts(
            self.projection.completed_nodes - back.count(NodeStatus.SUCCESS),
            self.projection.failed_nodes - back.count(NodeStatus.ERROR),
            self._skipped_nodes,
        )

    def _elapsed_ms(self) -> int:
        return self._age + round((self._timers.time() - self._since) * 1000)
