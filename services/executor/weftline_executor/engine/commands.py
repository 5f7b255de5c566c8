"""What clients ask of workflows, from start to rerun. Each command acts once, however often it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from weftline_executor.engine.archive import load_projection
from weftline_executor.engine.ids import new_run_id
from weftline_executor.engine.locks import KeyedLocks
from weftline_executor.engine.rebuild import reusable
from weftline_executor.engine.run import Run
from weftline_executor.engine.runtime import Runtime
from weftline_executor.errors import (
    CommandReused,
    ExecutorFull,
    FollowsParent,
    IllegalCommand,
    NodeNotFound,
    RunActive,
    RunStuck,
    WorkflowNotFound,
)
from weftline_executor.graph import Graph
from weftline_executor.model.events import ParentNode
from weftline_executor.model.records import RunRecord
from weftline_executor.model.states import ENGINE, RunState
from weftline_executor.replay import RunProjection
from weftline_executor.store import Store

_LEGAL = {
    "pause": frozenset({RunState.RUNNING}),
    "resume": frozenset({RunState.PAUSING, RunState.PAUSED}),
    "stop": frozenset({RunState.RUNNING, RunState.PAUSING, RunState.PAUSED, RunState.STOPPING}),
    "complete": frozenset({RunState.RUNNING, RunState.PAUSING, RunState.PAUSED}),
    "retry": frozenset({RunState.ERROR, RunState.STOPPED}),
    "rerun": frozenset({RunState.SUCCESS, RunState.ERROR, RunState.STOPPED}),
}
"""The states of a run in which a command makes sense."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command did: the run, its state now, and the seq of the first event that the command caused.

    For a start that `attached` to an active run, `seq` is that of the run's start.
    """

    workflow_id: str
    run_id: str
    state: RunState
    seq: int
    attached: bool = False


class Host(Protocol):
    """What commands need of the engine."""

    runs: dict[str, Run]

    async def compile(self, definition: bytes) -> Graph:
        """The graph of a definition. Raises InvalidWorkflow."""

    def refuse_if_unable(self) -> None:
        """Raises ShuttingDown or StoreUnavailable when no command can be taken."""


class Commands:
    """Takes commands, those on one workflow one after the other.

    Any of them may raise CommandReused, RunStuck, ShuttingDown and StoreUnavailable. For the body of a node, `start`,
    `retry` and `rerun` raise FollowsParent, as does `resume` while the run around it is held. When a call is cancelled,
    or the store fails before the answer, the command may still take effect; sent again with the same id, it is answered
    and acts once.
    """

    def __init__(self, host: Host, store: Store, runtime: Runtime, max_runs: int) -> None:
        self._host = host
        self._store = store
        self._runtime = runtime
        self._max_runs = max_runs
        self._locks = KeyedLocks()

    async def start(
        self, workflow_id: str, definition: bytes, *, by: str, command_id: str, trace: str = ""
    ) -> CommandResult:
        """Starts a run and answers when its start is durable; `trace` is the `traceparent` to keep with it.

        Raises InvalidWorkflow, RunActive, ExecutorFull.
        """
        graph = await self._host.compile(definition)
        async with self._locks.hold(workflow_id):
            repeated = await self._repeated(workflow_id, command_id, "start")
            if repeated is not None:
                return repeated
            self._host.refuse_if_unable()
            active = self._host.runs.get(workflow_id)
            if active is not None:
                if active.projection.parent is not None:
                    raise FollowsParent("start", workflow_id, active.projection.parent.workflow_id)
                if graph.config.on_conflict == "attach":
                    active.journal.note(command_id, "start", active.projection.first_seq)
                    return CommandResult(workflow_id, active.run_id, active.state, active.projection.first_seq, True)
                if graph.config.on_conflict == "reject":
                    raise RunActive(workflow_id, active.run_id)
                await _replace(active, by)
            head = await self._store.head(workflow_id)
            if head.seq:
                await self._refuse_if_stuck(workflow_id)
                _refuse_body("start", await self._newest(workflow_id))
            projection = RunProjection(workflow_id, new_run_id(self._runtime.now()))
            run = self._add(Run(self._runtime, graph, projection, head.seq))
            self._runtime.metrics.runs_started.inc()
            return await _answer(run, run.begin(definition, by=by, command_id=command_id, trace=trace))

    async def pause(
        self, workflow_id: str, *, by: str, reason: str, command_id: str, immediate: bool = False
    ) -> CommandResult:
        """Lets no further node start. Raises IllegalCommand, WorkflowNotFound."""
        return await self._command(
            "pause",
            workflow_id,
            command_id,
            lambda run: run.pause(by=by, reason=reason, command_id=command_id, immediate=immediate),
        )

    async def resume(self, workflow_id: str, *, by: str, reason: str, command_id: str) -> CommandResult:
        """Lets nodes start again. Raises IllegalCommand, WorkflowNotFound."""

        def act(run: Run) -> int:
            self._refuse_if_around_is_held(run)
            return run.resume(by=by, reason=reason, command_id=command_id)

        return await self._command("resume", workflow_id, command_id, act)

    async def stop(
        self, workflow_id: str, *, by: str, reason: str, command_id: str, grace_ms: int | None
    ) -> CommandResult:
        """Ends the active run; `grace_ms` None at once. Raises IllegalCommand, WorkflowNotFound."""
        return await self._command(
            "stop",
            workflow_id,
            command_id,
            lambda run: run.stop(by=by, reason=reason, command_id=command_id, grace_ms=grace_ms),
        )

    async def complete(
        self, workflow_id: str, *, node_id: str = "", event: str = "", data: bytes, by: str, command_id: str
    ) -> CommandResult:
        """Ends the wait of a node, or of all that wait for `event`, with `data` (JSON text, or empty).

        Raises IllegalCommand, WorkflowNotFound, NodeNotFound, NothingWaits.
        """
        return await self._command(
            "complete",
            workflow_id,
            command_id,
            lambda run: run.complete(node_id, event, data, by=by, command_id=command_id),
        )

    async def retry(self, workflow_id: str, *, by: str, reason: str, command_id: str) -> CommandResult:
        """Runs what failed in the newest run, and what that cut off, again: the same run, its next generation.

        Raises IllegalCommand unless the run failed or was stopped, WorkflowNotFound, InvalidWorkflow, ExecutorFull.
        """
        async with self._locks.hold(workflow_id):
            repeated = await self._repeated(workflow_id, command_id, "retry")
            if repeated is not None:
                return repeated
            projection, graph = await self._ended("retry", workflow_id)
            run = self._add(Run(self._runtime, graph, projection, projection.seq))
            return await _answer(run, run.retry(by=by, reason=reason, command_id=command_id))

    async def rerun(
        self, workflow_id: str, *, from_node: str, by: str, command_id: str, trace: str = ""
    ) -> CommandResult:
        """Begins a run that takes over the newest run's results, but for a node and what follows it.

        Raises IllegalCommand while that run is active, WorkflowNotFound, NodeNotFound, InvalidWorkflow, ExecutorFull,
        and ArtifactError when a large output of that run can't be copied.
        """
        async with self._locks.hold(workflow_id):
            repeated = await self._repeated(workflow_id, command_id, "rerun")
            if repeated is not None:
                return repeated
            earlier, graph = await self._ended("rerun", workflow_id)
            if from_node not in graph.index:
                raise NodeNotFound(workflow_id, from_node)
            nodes = reusable(graph, earlier, graph.index[from_node])
            large = [earlier.nodes[graph.nodes[node].id].artifact for node in nodes]
            projection = RunProjection(workflow_id, new_run_id(self._runtime.now()))
            copied = await self._runtime.outputs.copy([each for each in large if each], projection.run_id)
            run = self._add(Run(self._runtime, graph, projection, earlier.seq))
            self._runtime.metrics.runs_started.inc()
            seq = run.begin_from(earlier, nodes, copied, by=by, command_id=command_id, trace=trace)
            return await _answer(run, seq)

    async def begin_body(
        self, workflow_id: str, definition: bytes, parent: ParentNode, since: int, trace: str
    ) -> Run | RunProjection:
        """See Starter. Raises InvalidWorkflow, ExecutorFull."""
        async with self._locks.hold(workflow_id):
            active = self._host.runs.get(workflow_id)
            again = active is not None and active.projection.parent_attempt < since
            if active is not None and again and active.state is RunState.STOPPING:
                await active.ended.wait()
                active = None
            if active is not None:
                return active
            self._host.refuse_if_unable()
            record = await self._store.newest_run(workflow_id)
            if record is not None:
                projection = await load_projection(self._store, record)
                if projection.parent_attempt >= since or record.state not in _LEGAL["retry"]:
                    return projection
                graph = await self._host.compile(bytes(projection.definition))
                run = self._add(Run(self._runtime, graph, projection, projection.seq))
                seq = run.retry(by=ENGINE, reason="parent_retried", command_id="", attempt=parent.attempt)
            else:
                graph = await self._host.compile(definition)
                projection = RunProjection(workflow_id, new_run_id(self._runtime.now()))
                head = await self._store.head(workflow_id)
                run = self._add(Run(self._runtime, graph, projection, head.seq))
                self._runtime.metrics.runs_started.inc()
                seq = run.begin(definition, by=ENGINE, command_id="", parent=parent, trace=trace)
            await run.durable(seq)
            return run

    async def _ended(self, command: str, workflow_id: str) -> tuple[RunProjection, Graph]:
        """The newest run and its graph. Raises IllegalCommand unless it has ended as the command wants it."""
        self._host.refuse_if_unable()
        record = await self._newest(workflow_id)
        _refuse_body(command, record)
        active = self._host.runs.get(workflow_id)
        if active is not None or record.state not in _LEGAL[command]:
            raise IllegalCommand(command, workflow_id, active.state if active else record.state)
        projection = await load_projection(self._store, record)
        return projection, await self._host.compile(bytes(projection.definition))

    async def _command(self, name: str, workflow_id: str, command_id: str, act: Callable[[Run], int]) -> CommandResult:
        async with self._locks.hold(workflow_id):
            repeated = await self._repeated(workflow_id, command_id, name)
            if repeated is not None:
                return repeated
            self._host.refuse_if_unable()
            run = self._host.runs.get(workflow_id)
            if run is None:
                await self._refuse_if_stuck(workflow_id)
                raise IllegalCommand(name, workflow_id, (await self._newest(workflow_id)).state)
            if run.state not in _LEGAL[name]:
                raise IllegalCommand(name, workflow_id, run.state)
            return await _answer(run, act(run))

    async def _repeated(self, workflow_id: str, command_id: str, name: str) -> CommandResult | None:
        """The answer to a command that was accepted before, be it durable or about to be."""
        if not command_id:
            return None
        run = self._host.runs.get(workflow_id)
        waiting = run.journal.undurable(command_id) if run is not None else None
        if run is not None and waiting is not None:
            _refuse_other(command_id, name, waiting.name)
            return await _answer(run, waiting.seq)
        record = await self._store.find_command(workflow_id, command_id)
        if record is None:
            return None
        _refuse_other(command_id, name, record.name)
        if run is not None and run.run_id == record.run_id:
            return CommandResult(workflow_id, record.run_id, run.state, record.seq)
        its_run = await self._store.runs(workflow_id, record.seq + 1, 1)
        state = its_run[0].state if its_run else RunState.STOPPED
        return CommandResult(workflow_id, record.run_id, state, record.seq)

    async def _refuse_if_stuck(self, workflow_id: str) -> None:
        """Raises RunStuck when the newest run, which is not active here, has not ended: it alone may go on."""
        record = await self._store.newest_run(workflow_id)
        if record is not None and record.ended_at is None:
            raise RunStuck(workflow_id, record.run_id)

    def _refuse_if_around_is_held(self, run: Run) -> None:
        parent = run.projection.parent
        around = self._host.runs.get(parent.workflow_id) if parent else None
        if parent and around and around.run_id == parent.run_id and around.state in _LEGAL["resume"]:
            raise FollowsParent("resume", run.workflow_id, parent.workflow_id)

    async def _newest(self, workflow_id: str) -> RunRecord:
        record = await self._store.newest_run(workflow_id)
        if record is None:
            raise WorkflowNotFound(workflow_id)
        return record

    def _add(self, run: Run) -> Run:
        """Makes a run the workflow's active one; nothing is awaited between the check and that."""
        self._host.refuse_if_unable()
        if len(self._host.runs) >= self._max_runs:
            raise ExecutorFull(self._max_runs)
        self._host.runs[run.workflow_id] = run
        return run


async def _replace(active: Run, by: str) -> None:
    if active.state in _LEGAL["stop"]:
        active.stop(by=by, reason="replaced", command_id="", grace_ms=None)
    await active.ended.wait()


async def _answer(run: Run, seq: int) -> CommandResult:
    state = run.state
    await run.durable(seq)
    return CommandResult(run.workflow_id, run.run_id, state, seq)


def _refuse_body(command: str, record: RunRecord) -> None:
    if record.parent:
        raise FollowsParent(command, record.workflow_id, record.parent)


def _refuse_other(command_id: str, name: str, known: str) -> None:
    if name != known:
        raise CommandReused(command_id)
