"""Taking up a run where an earlier life of it, or another run, has left it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from weftline_executor.engine.attempts import CANCELLED, CRASH_LOOP, INTERRUPTED, MAX_RECOVERIES, Attempts
from weftline_executor.engine.progress import ProgressReport
from weftline_executor.engine.rebuild import Standing
from weftline_executor.engine.scheduler import Scheduler
from weftline_executor.engine.waits import Waits
from weftline_executor.graph import Graph
from weftline_executor.model.states import WAITS, Handling, NodeStatus, PendingReason, RunState, SkipReason
from weftline_executor.replay import RunProjection


class Run(Protocol):
    """What is asked of the run."""

    graph: Graph
    projection: RunProjection
    state: RunState
    terminated: bool
    attempts: Attempts
    scheduler: Scheduler
    waits: Waits
    progress: ProgressReport

    @property
    def halted(self) -> bool:
        """Whether nothing new may start any more."""

    def attempt_ended(self, handling: Handling) -> None:
        """The outcome of an attempt was written."""


def take_up(run: Run, standing: Standing) -> list[tuple[int, SkipReason]]:
    """Goes on with what was interrupted, was ready, or waits; gives the nodes that are to be skipped, and why."""
    for node in standing.interrupted:
        _interrupted(run, node)
    for node_id, known in run.projection.nodes.items():
        if known.status is NodeStatus.PENDING and known.attempt:
            # It may have been told since that it waits for a slot; what begins anew has forgotten its first start.
            recovered = known.first_started_at is not None
            run.attempts.continue_from(run.graph.index[node_id], known.attempt, recovered)
    for node in standing.ready:
        state = run.projection.nodes.get(run.graph.nodes[node].id)
        if state is not None and state.reason in WAITS:
            run.waits.recover(node, state)
            continue
        run.scheduler.push_at(node, *((state.due, state.since) if state else (0, 0)))
    return standing.skipped


def _interrupted(run: Run, node: int) -> None:
    """A node was running when the process died: it will run again, or, in a run that is stopping, never."""
    state = run.projection.nodes[run.graph.nodes[node].id]
    run.attempts.continue_from(node, state.attempt)
    if run.halted or run.terminated:
        run.attempts.fail(node, CANCELLED if run.state is RunState.STOPPING else INTERRUPTED, 0)
    elif run.state is RunState.STOPPING and run.attempts.prepared(node).idempotency == "unsafe":
        # Nobody can be asked any more whether it is to run again.
        run.attempts.fail(node, INTERRUPTED, 0)
    elif state.recoveries >= MAX_RECOVERIES and not run.graph.nodes[node].body:
        # A node with a body runs no code of its own, and may go on through any number of restarts.
        run.attempt_ended(run.attempts.fail(node, CRASH_LOOP, 0)[1])
    else:
        run.attempts.pend(node, state.attempt + 1, PendingReason.RECOVERED)
        run.scheduler.push(node)


def begin_again(run: Run, reset: Collection[int]) -> int:
    """Writes that nodes are decided anew; gives how many of them had been skipped."""
    skipped = 0
    for node in sorted(reset):
        state = run.projection.nodes.get(run.graph.nodes[node].id)
        skipped += state is not None and state.status is NodeStatus.SKIPPED
        run.progress.reset(node)
        run.attempts.pend(node, state.attempt + 1 if state else 1, PendingReason.RESET)
    return skipped


def outcome_unknown(run: Run, node: int) -> bool:
    """Whether nobody knows if a node that must not run twice had finished when the process died."""
    state = run.projection.nodes.get(run.graph.nodes[node].id)
    recovered = state is not None and state.reason == PendingReason.RECOVERED
    # That it is recovered may not be durable yet; one that runs in this life is no candidate.
    recovered = recovered or (state is not None and state.status is NodeStatus.RUNNING)
    return recovered and run.attempts.prepared(node).idempotency == "unsafe"
