"""One active run: its only writer, and the commands that it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.attempts import INTERRUPTED
from weftline_executor.engine.execution import TERMINATE, Execution
from weftline_executor.engine.outcome import Success
from weftline_executor.engine.rebuild import rebuild, to_reset
from weftline_executor.engine.takeup import begin_again, outcome_unknown, take_up
from weftline_executor.engine.timers import RUN
from weftline_executor.engine.verdict import fault_so_far
from weftline_executor.errors import NodeNotFound, NothingWaits
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.events import (
    ParentNode,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopping,
)
from weftline_executor.model.states import (
    ENGINE,
    UNKNOWN_OUTCOME,
    PendingReason,
    RunState,
    SuccessReason,
)
from weftline_executor.replay import RunProjection


class Run(Execution):
    """The writer of one run; a command gives the seq of the first event that it caused.

    All methods are called in the engine's event loop.
    """

    def begin(
        self,
        definition: bytes,
        *,
        by: str,
        command_id: str,
        parent: ParentNode | None = None,
        trace: str = "",
    ) -> int:
        """Writes the start of the run, and gives its seq; nodes start when it is durable."""
        seq = self._begin(definition, by, parent, "", trace)
        self.journal.note(command_id, "start", seq)
        return seq

    def begin_from(
        self,
        earlier: RunProjection,
        nodes: Sequence[int],
        copied: Mapping[str, Artifact],
        *,
        by: str,
        command_id: str,
        trace: str = "",
    ) -> int:
        """Writes the start of a run that takes over the results of these nodes of an earlier one.

        `copied` are this run's own copies of artifacts, by the uri of the earlier run's. Gives its seq.
        """
        seq = self._begin(bytes(earlier.definition), by, None, earlier.run_id, trace)
        self.journal.note(command_id, "rerun", seq)
        for node in nodes:
            state = earlier.nodes[self.graph.nodes[node].id]
            self.attempts.take_over(node, state, copied[state.artifact.uri] if state.artifact else None)
        return seq

    def _begin(self, definition: bytes, by: str, parent: ParentNode | None, rerun_of: str, trace: str) -> int:
        seq, now, total = self.journal.next_seq(), self._runtime.now(), len(self.graph)
        self.journal.append(RunStarted(seq, now, msgspec.Raw(definition), total, by, parent, rerun_of, trace))
        return seq

    def recover(self) -> None:
        """Goes on after the process died: what had finished stands, what was running is handled by its idempotency."""
        standing = rebuild(self.graph, self.projection)
        self.frontier = standing.frontier
        if self.state is not RunState.STOPPING:
            # The others were given up when the run came to its `finally` nodes.
            finishing = standing.frontier.finishing
            self.on_hold.update(n for n in standing.hold if self.graph.nodes[n].policy.final or not finishing)
        fails = self.graph.config.failure_policy == "fail_fast" or standing.frontier.finishing
        if fails and self.state is not RunState.STOPPING:
            self._fault = fault_so_far(self.graph, self.projection)
        if self.state is RunState.RUNNING and not self.halted:
            # Somebody resumed the run just when they failed.
            self._try_held()
        self._skip(take_up(self, standing))
        unknown = any(self.attempts.prepared(node).idempotency == "unsafe" for node in standing.interrupted)
        if unknown and self.state in (RunState.RUNNING, RunState.PAUSING) and not self.halted:
            self._change(RunPaused, RunState.PAUSED, by=ENGINE, reason=UNKNOWN_OUTCOME)
        self._time_deadline()
        if standing.frontier.finishing:
            self._bound_finals()
        self.settle()

    def retry(self, *, by: str, reason: str, command_id: str, attempt: int = 0) -> int:
        """Begins another generation of an ended run: what failed, and what that cut off, is decided anew.

        For a body, `attempt` is that of its node which tries it again. Gives the seq of the event.
        """
        reset = to_reset(self.graph, self.projection)
        standing = rebuild(self.graph, self.projection, reset)
        self.frontier = standing.frontier
        self._again.update(standing.ready)
        seq = self._change(RunResumed, RunState.RUNNING, by=by, mode="retry", reason=reason, attempt=attempt)
        self.journal.note(command_id, "retry", seq)
        self._skipped_nodes -= begin_again(self, reset)
        self._skip(standing.skipped)
        return seq

    def pause(self, *, by: str, reason: str, command_id: str, immediate: bool = False) -> int:
        """Lets no further node start; `immediate` also cancels what runs, to begin again on resume.

        A node that must not run twice is waited for all the same. Gives the seq of the event.
        """
        seq = self._halt(by, reason, "immediate" if immediate else "drain")
        self.journal.note(command_id, "pause", seq)
        if immediate:
            self._push_all(self.attempts.interrupt(PendingReason.PAUSED))
            self.settle()
        return seq

    def move(self, attempts: Sequence[Attempt]) -> None:
        """Begins anew those of the attempts that are this run's and may run twice, because they can't go on."""
        moved = self.attempts.interrupt(PendingReason.RECOVERED, attempts)
        if moved:
            self._push_all(moved)
            self.settle()

    def resume(self, *, by: str, reason: str, command_id: str) -> int:
        """Lets nodes start again, those that failed and were to wait for this too. Gives the seq of the event."""
        seq = self._change(RunResumed, RunState.RUNNING, by=by, reason=reason)
        self.journal.note(command_id, "resume", seq)
        self._try_held()
        self.scheduler.advance_soon()
        return seq

    def complete(self, node_id: str, event: str, data: bytes, *, by: str, command_id: str) -> int:
        """Ends the wait of a node, or of all that wait for `event`, with `data` (JSON text, or empty).

        So it does with a node of which nobody knows whether it had finished when the process died. Gives the seq of the
        first event. Raises NodeNotFound, NothingWaits.
        """
        if event:
            nodes = self.waits.waiting_for(event)
        else:
            node = self.graph.index.get(node_id)
            if node is None:
                raise NodeNotFound(self.workflow_id, node_id)
            nodes = [node] if node in self.waits else []
            if not nodes and outcome_unknown(self, node) and self.scheduler.take_out(node):
                seq = self.attempts.succeed(node, Success(data, "", SuccessReason.COMPLETED), 0, by)
                self.journal.note(command_id, "complete", seq)
                return seq
        if not nodes:
            raise NothingWaits(self.workflow_id, node_id, event)
        seqs = [self.waits.complete(node, data, by) for node in nodes]
        self.journal.note(command_id, "complete", seqs[0])
        self.settle()
        return seqs[0]

    def stop(self, *, by: str, reason: str, command_id: str, grace_ms: int | None) -> int:
        """Cancels what is running and ends the run; `grace_ms` None abandons it at once. Gives the seq of the event.

        A graceful stop runs the `finally` nodes, and lets those go on that run already.
        """
        mode = TERMINATE if grace_ms is None or self.terminated else "graceful"
        held = self.state in (RunState.PAUSING, RunState.PAUSED)
        seq = self._change(RunStopping, RunState.STOPPING, by=by, mode=mode, reason=reason)
        self.journal.note(command_id, "stop", seq)
        self.scheduler.forget_slots()
        self._give_up_unknown()
        if grace_ms is None:
            self.terminated = True
            self._abandon()
        else:
            self._grace = grace_ms / 1000
            if not self.frontier.finishing:
                self._runtime.bodies.stopped(self, grace_ms)
                self.attempts.cancel()
            elif held:
                self._runtime.bodies.unpaused(self, grace_ms)
            self._timers.start("grace", RUN, self._grace, self._out_of_grace)
        self.settle()
        return seq

    def _give_up_unknown(self) -> None:
        """Nobody will say any more whether what failed, or may have run, is to run again."""
        self.on_hold.clear()
        if not self.frontier.finishing:
            return  # all that waits is skipped
        for node in self.scheduler.line().nodes:
            if outcome_unknown(self, node) and self.scheduler.take_out(node):
                self.attempts.fail(node, INTERRUPTED, 0)
