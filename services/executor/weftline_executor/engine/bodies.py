"""Runs the bodies of nodes as workflows of their own, which follow the run that they belong to."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from weftline_executor.engine.attempt import Attempt, Reporter
from weftline_executor.engine.body_output import body_output
from weftline_executor.engine.body_workflow import body_workflow_id, with_params
from weftline_executor.engine.large_outputs import LargeOutputs
from weftline_executor.errors import ArtifactError, ExecutorFull, InvalidWorkflow, StoreUnavailable
from weftline_executor.graph import Graph
from weftline_executor.model.events import ParentNode
from weftline_executor.model.states import ENGINE, UNKNOWN_OUTCOME, WAITS, RunState
from weftline_executor.nodes import BodyEnd, NodeFailed
from weftline_executor.replay import RunProjection
from weftline_executor.tracing import attempt_traceparent

RETRY_SECONDS = 1.0
PARENT_ENDED = "parent_ended"
PARENT_PAUSED = "parent_paused"
PARENT_RESUMED = "parent_resumed"
PARENT_STOPPED = "parent_stopped"
_HELD = (RunState.PAUSING, RunState.PAUSED)


class Around(Protocol):
    """What is asked of a run whose nodes have bodies."""

    graph: Graph
    projection: RunProjection
    state: RunState
    workflow_id: str
    run_id: str

    @property
    def attempts(self) -> Reporter:
        """Takes log lines."""

    @property
    def winds_up(self) -> bool:
        """Whether nothing new may start, and what runs is waited for."""

    def works_on(self, node_id: str) -> bool:
        """Whether a node runs, or could."""

    def settle(self) -> None:
        """Something changed: nodes may start, or the run may end."""


class BodyRun(Around, Protocol):
    """What is asked of the run of a body."""

    ended: asyncio.Event

    def pause(self, *, by: str, reason: str, command_id: str, immediate: bool = False) -> int:
        """Lets no further node start."""

    def resume(self, *, by: str, reason: str, command_id: str) -> int:
        """Lets nodes start again."""

    def stop(self, *, by: str, reason: str, command_id: str, grace_ms: int | None) -> int:
        """Cancels what is running and ends the run."""


class Starter(Protocol):
    """Who starts the runs of bodies."""

    async def begin_body(
        self, workflow_id: str, definition: bytes, parent: ParentNode, since: int, trace: str
    ) -> BodyRun | RunProjection:
        """Gives the active run of a body, begun as a part of `trace` if there is none; where one ended, its projection.

        One that did not succeed goes on, unless it was tried by one of the node's attempts `since` that one.
        """

    async def recovered(self) -> None:
        """Waits until all bodies are known that go on from before the process died."""


@dataclass(slots=True, eq=False)
class _Work:
    """What an attempt waits for: `runs` of bodies by workflow, and how many are `beginning` or `held` by a pause.

    In those of the workflows `asking`, which may be further inside, a node waits for a word from outside.
    """

    around: Around
    attempt: Attempt
    runs: dict[str, BodyRun] = field(default_factory=dict)
    beginning: int = 0
    held: int = 0
    asking: set[str] = field(default_factory=set)

    def look(self, active: Iterable[BodyRun]) -> None:
        """Notes whether nothing runs any more that the attempt waits for, so that its run can be paused.

        The `active` bodies are those of its run, among them some that it may not have come to after a crash.
        """
        idle = bool(self.runs or self.held) and not self.beginning
        resting = idle and all(run.projection.state is RunState.PAUSED for run in active if self._is_mine(run))
        if resting is not self.attempt.resting:
            self.attempt.resting = resting
            self.around.settle()

    def _is_mine(self, run: BodyRun) -> bool:
        return run.projection.parent is not None and run.projection.parent.node_id == self.attempt.node_id


class Bodies:
    """The active runs of bodies; once those are `adopted` that go on from before the process died, all are known.

    All methods are called in the engine's event loop.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, runs: Mapping[str, BodyRun], starter: Starter, outputs: LargeOutputs
    ) -> None:
        self._loop = loop
        self._runs = runs
        self._starter = starter
        self._outputs = outputs
        self._of: dict[str, dict[str, BodyRun]] = defaultdict(dict)
        self._works: dict[str, _Work] = {}
        self._held: dict[tuple[str, str], _Work] = {}
        self._resumed: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._told: set[str] = set()
        self.adopted = False
        self._closed = False

    def of(self, around: Around, attempt: Attempt) -> NodeBody:
        """The body of an attempt's node, for its code."""
        return NodeBody(self, self._loop, _Work(around, attempt))

    async def run(self, work: _Work, params: Mapping[str, object], item: int | None) -> BodyEnd:
        """Runs a body for an attempt to its end. Raises NodeFailed when it can't be started."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        around, attempt = work.around, work.attempt
        parent = _parent(around, attempt, item)
        workflow_id = body_workflow_id(parent)
        definition = with_params(around.graph.nodes[attempt.index].body, params)
        found = await self._begin(work, workflow_id, definition, parent)
        if isinstance(found, RunProjection):
            return await self._end(found)
        if found.ended.is_set():
            return await self._end(found.projection)  # it had nothing to do
        self._works[workflow_id] = work
        work.runs[workflow_id] = self._of[around.run_id][workflow_id] = found
        self._follow(found, around, attempt)
        self.changed(found)
        try:
            await found.ended.wait()
        except asyncio.CancelledError:
            if not attempt.moved and not self._closed and self._runs.get(workflow_id) is found:
                found.stop(by=ENGINE, reason=PARENT_STOPPED, command_id="", grace_ms=None)
            raise
        finally:
            del work.runs[workflow_id]
            self._asks(work, found, False)
            if self._works.get(workflow_id) is work:
                del self._works[workflow_id]
            work.look(self._active(around))
        return await self._end(found.projection)

    async def under_way(self, work: _Work) -> list[int]:
        """The items whose runs go on from before the process died."""
        if not work.attempt.recovered:
            return []
        await self._starter.recovered()
        parents = [run.projection.parent for run in self._active(work.around)]
        mine = [parent.item for parent in parents if parent and parent.node_id == work.attempt.node_id]
        return sorted(item for item in mine if item is not None)

    def _follow(self, run: BodyRun, around: Around, attempt: Attempt) -> None:
        """A body has begun: tells it what was told to the run around it in the meantime."""
        if attempt.cancelled or (attempt.done and not attempt.moved):
            self._stop(run, PARENT_STOPPED, None)
        elif around.state in _HELD and run.state is RunState.RUNNING:
            run.pause(by=ENGINE, reason=PARENT_PAUSED, command_id="")

    async def _end(self, projection: RunProjection) -> BodyEnd:
        output = None
        if projection.state is RunState.SUCCESS:
            try:
                output = await body_output(projection, self._outputs)
            except ArtifactError as error:
                raise NodeFailed(f"the body's output can't be read: {error}", code="artifact_failed") from None
        failure = projection.failure
        return BodyEnd(
            projection.workflow_id,
            projection.state.value,
            output,
            failure.error if failure else "",
            failure.code if failure else "",
            failure.node if failure else "",
        )

    async def close(self) -> None:
        """Lets nobody wait any longer; what runs goes on when the process is started again."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin(
        self, work: _Work, workflow_id: str, definition: bytes, parent: ParentNode
    ) -> BodyRun | RunProjection:
        around, attempt = work.around, work.attempt
        trace = attempt_traceparent(around.projection.trace, around.run_id, attempt.node_id, attempt.number)
        while True:
            await self._hold(work)
            if attempt.cancelled or attempt.done:
                raise NodeFailed("cancelled: the run is ending", code="cancelled", retryable=False)
            # Until it is one of the runs that a pause reaches, it counts as one that runs.
            work.beginning += 1
            try:
                return await self._starter.begin_body(workflow_id, definition, parent, _since(work), trace)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except ExecutorFull as error:
                raise NodeFailed(str(error), code=error.code) from None
            except InvalidWorkflow as error:
                raise NodeFailed(f"the body can't run: {error}", code=error.code, retryable=False) from None
            finally:
                work.beginning -= 1

    async def _hold(self, work: _Work) -> None:
        """Waits while no body may begin."""
        while work.around.state in _HELD:
            work.held += 1
            key = work.around.run_id, work.attempt.node_id
            self._held[key] = work
            work.look(self._active(work.around))
            try:
                await self._resumed.setdefault(work.around.run_id, asyncio.Event()).wait()
            finally:
                work.held -= 1
                if not work.held and self._held.get(key) is work:
                    del self._held[key]

    def recovered(self) -> None:
        """All runs are known that go on from before the process died: each that is a body's follows the run around."""
        runs = list(self._runs.values())
        for run in runs:
            self._adopt(run)
        self.adopted = True
        for run in runs:
            run.settle()

    def _adopt(self, run: BodyRun) -> None:
        parent = run.projection.parent
        if parent is None:
            return
        around = self._runs.get(parent.workflow_id)
        if around is None or around.run_id != parent.run_id:
            self._stop(run, PARENT_ENDED, None)
            return
        self._of[parent.run_id][run.workflow_id] = run
        if around.winds_up:
            return  # which stops its bodies, and waits for them
        if not around.works_on(parent.node_id):
            self._stop(run, PARENT_STOPPED, None)
        elif around.state in _HELD and run.state is RunState.RUNNING:
            run.pause(by=ENGINE, reason=PARENT_PAUSED, command_id="")

    def changed(self, run: BodyRun) -> None:
        """The state of a body's run, as far as it is durable, may be another."""
        work, parent = self._works.get(run.workflow_id), run.projection.parent
        waits = work or (self._held.get((parent.run_id, parent.node_id)) if parent else None)
        if waits is not None:
            waits.look(self._active(waits.around))
        if work is not None:
            self._asks(work, run, run.projection.open_waits > 0)
        paused = run.projection.state is RunState.PAUSED
        if paused and work is not None and work.around.state is RunState.RUNNING and run.workflow_id not in self._told:
            # Nobody would look for what the run waits for in a run that lists leave out.
            context = {"workflowId": run.workflow_id, "reason": run.projection.reason}
            message = "the body is paused, and the node waits for that"
            work.around.attempts.report_log(work.attempt, "warn", message, context)
            self._told.add(run.workflow_id)
        elif not paused:
            self._told.discard(run.workflow_id)

    def _asks(self, work: _Work, run: BodyRun, asks: bool) -> None:
        """Tells the runs around a body that a node of it waits for a word from outside, once until none does."""
        outer: _Work | None = work if asks or run.workflow_id in work.asking else None
        while outer is not None:
            if asks and not outer.asking:
                states = run.projection.nodes.items()
                waiting = next((node_id for node_id, state in states if state.reason in WAITS), "")
                context = {"workflowId": run.workflow_id, "nodeId": waiting}
                message = "a node of the body waits to be completed, and this node for that"
                outer.around.attempts.report_log(outer.attempt, "info", message, context)
            (outer.asking.add if asks else outer.asking.discard)(run.workflow_id)
            outer = self._works.get(outer.around.workflow_id)

    def paused(self, around: Around, immediate: bool) -> None:
        """A run was paused: so are its bodies."""
        for run in self._active(around):
            if run.state is RunState.RUNNING:
                run.pause(by=ENGINE, reason=PARENT_PAUSED, command_id="", immediate=immediate)

    def resumed(self, around: Around) -> None:
        """A run was resumed: so are its bodies."""
        if (event := self._resumed.pop(around.run_id, None)) is not None:
            event.set()
        for run in self._active(around):
            if run.state in _HELD:
                run.resume(by=ENGINE, reason=PARENT_RESUMED, command_id="")

    def unpaused(self, around: Around, grace_ms: int) -> None:
        """A run is being stopped, and its `finally` nodes go on: so do their bodies.

        One in which nobody knows whether a node had finished is stopped, since nobody will say that any more.
        """
        if (event := self._resumed.pop(around.run_id, None)) is not None:
            event.set()
        for run in self._active(around):
            if run.projection.reason == UNKNOWN_OUTCOME:
                self._stop(run, PARENT_STOPPED, grace_ms)
            elif run.state in _HELD:
                run.resume(by=ENGINE, reason=PARENT_RESUMED, command_id="")

    def stopped(self, around: Around, grace_ms: int | None) -> None:
        """A run is being stopped: so are its bodies."""
        if (event := self._resumed.pop(around.run_id, None)) is not None:
            event.set()
        for run in self._active(around):
            self._stop(run, PARENT_STOPPED, grace_ms)

    def wind_up(self, around: Around, grace_ms: int) -> bool:
        """A run comes to its end, and no node of it runs: stops the bodies that it has left, and gives whether any."""
        active = self._active(around)
        for run in active:
            if run.state is not RunState.STOPPING:
                self._stop(run, PARENT_STOPPED, grace_ms)
        return bool(active)

    def ended(self, projection: RunProjection) -> None:
        """A run has ended: nothing of it goes on, and the run around it may end, too."""
        for run in list(self._of.pop(projection.run_id, {}).values()):
            self._stop(run, PARENT_ENDED, None)
        self._told.discard(projection.workflow_id)
        parent = projection.parent
        if parent is not None:
            self._of[parent.run_id].pop(projection.workflow_id, None)
            if not self._of[parent.run_id]:
                del self._of[parent.run_id]
            around = self._runs.get(parent.workflow_id)
            if around is not None and around.run_id == parent.run_id:
                around.settle()

    def _active(self, around: Around) -> list[BodyRun]:
        return list(self._of.get(around.run_id, {}).values())

    def _stop(self, run: BodyRun, reason: str, grace_ms: int | None) -> None:
        if not run.state.final:
            run.stop(by=ENGINE, reason=reason, command_id="", grace_ms=grace_ms)


class NodeBody:
    """The body of one attempt, as its code sees it from the nodes' event loop."""

    def __init__(self, bodies: Bodies, loop: asyncio.AbstractEventLoop, work: _Work) -> None:
        self._bodies = bodies
        self._loop = loop
        self._work = work

    async def run(self, params: Mapping[str, object], item: int | None = None) -> BodyEnd:
        """See Body."""
        run = self._bodies.run(self._work, params, item)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run, self._loop))

    async def under_way(self) -> list[int]:
        """See Body."""
        asked = self._bodies.under_way(self._work)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self._loop))


def _parent(around: Around, attempt: Attempt, item: int | None) -> ParentNode:
    outer = around.projection.parent
    depth = 1 if outer is None else outer.depth + 1
    return ParentNode(around.workflow_id, around.run_id, attempt.node_id, depth, item, attempt.number)


def _since(work: _Work) -> int:
    """The first of the attempts that tries its bodies as this one does: those after a crash go on with it."""
    state = work.around.projection.nodes.get(work.attempt.node_id)
    return state.first_attempt if work.attempt.recovered and state is not None else work.attempt.number
