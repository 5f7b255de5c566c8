"""The engine as a whole: accepts commands, keeps the active runs, recovers them at start, and tells a listener."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from weftline_executor.engine.archive import Archive, given_up, load_projection
from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.commit import Committer
from weftline_executor.engine.estimate import DurationHistory
from weftline_executor.engine.ids import new_run_id
from weftline_executor.engine.launcher import Catalog, Failure, Launcher
from weftline_executor.engine.locks import KeyedLocks
from weftline_executor.engine.nodeloop import NodeLoops
from weftline_executor.engine.run import Run
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.slots import Slots
from weftline_executor.errors import (
    CommandReused,
    ExecutorFull,
    IllegalCommand,
    InvalidWorkflow,
    RunActive,
    ShuttingDown,
    StoreUnavailable,
    WorkflowNotFound,
)
from weftline_executor.graph import Graph, Limits, compile_graph
from weftline_executor.metrics import Metrics
from weftline_executor.model.events import Telemetry
from weftline_executor.model.records import Batch, Retention, RunRecord
from weftline_executor.model.states import RunState
from weftline_executor.replay import RunProjection
from weftline_executor.store import Store

RETENTION_INTERVAL = 60.0
LARGE_DEFINITION = 128 * 1024
"""Above this size a definition is compiled in a thread, so that it does not stall other runs."""

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told what becomes durable, in order, and the telemetry in between."""

    def committed(self, batches: Sequence[Batch]) -> None:
        """These batches are durable."""

    def telemetry(self, workflow_id: str, run_id: str, event: Telemetry) -> None:
        """A run or a node made progress."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of the engine; see the settings of the same names."""

    concurrency: int = 256
    max_runs: int = 10_000
    max_output_bytes: int = 1 << 20
    blocked_loop_seconds: float = 5.0
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=lambda: Retention(7 * 86_400_000, 100, 8 << 30))


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command did: the run, its state now, and the seq of the first event that the command caused."""

    workflow_id: str
    run_id: str
    state: RunState
    seq: int
    attached: bool = False


class Engine:
    """Runs workflows over a store. Use: `await start()`, commands, `await close()`; `listener` is told everything.

    `now` gives milliseconds since the Unix epoch.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        secrets: Mapping[str, str],
        metrics: Metrics,
        config: EngineConfig,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._config = config
        self._metrics = metrics
        self._now = now
        self._loops = NodeLoops(config.blocked_loop_seconds)
        self._committer = Committer(store, metrics, self._committed)
        loop = asyncio.get_running_loop()
        self._runtime = Runtime(
            loop,
            now,
            self._committer,
            Launcher(loop, self._loops, secrets, config.max_output_bytes),
            Slots(config.concurrency),
            DurationHistory(),
            metrics,
            catalog,
            lambda run, event: self._listener.telemetry(run.workflow_id, run.run_id, event),
            self._ended,
        )
        self._listener: Listener = _Nobody()
        self._runs: dict[str, Run] = {}
        self._locks = KeyedLocks()
        self._archive = Archive(store)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        metrics.runs_active.set_function(lambda: len(self._runs))
        metrics.nodes_running.set_function(lambda: self._runtime.slots.used)
        metrics.runs_waiting.set_function(lambda: self._runtime.slots.waiting)

    @property
    def store(self) -> Store:
        """The log, for reading."""
        return self._store

    @property
    def healthy(self) -> bool:
        """Whether events can be written."""
        return self._committer.healthy and not any(task.done() for task in self._tasks)

    @property
    def active_runs(self) -> int:
        """How many runs have not ended."""
        return len(self._runs)

    def attach(self, listener: Listener) -> None:
        """Tells `listener` everything from now on, instead of whoever was told before."""
        self._listener = listener

    async def start(self) -> None:
        """Begins to commit, and goes on with every run that has not ended."""
        self._spawn("committer", self._committer.run())
        self._spawn("retention", self._retain())
        self._spawn("node-loop-watch", self._loops.watch(self._blocked))
        for record in await self._store.active_runs():
            await self._recover(record)

    async def close(self) -> None:
        """Refuses commands, lets what was decided become durable, and stops; active runs go on at the next start."""
        self._closing = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._committer.drained(), 5)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._loops.stop()

    def active(self, workflow_id: str) -> Run | None:
        """The workflow's active run."""
        return self._runs.get(workflow_id)

    def active_workflows(self) -> list[str]:
        """The ids of all workflows with an active run."""
        return list(self._runs)

    async def projection(self, workflow_id: str) -> RunProjection:
        """The state of a workflow's newest run. Raises WorkflowNotFound."""
        run = self._runs.get(workflow_id)
        found = run.projection if run and run.projection.seq else await self._archive.newest(workflow_id)
        # A run may have begun while the log was read; what is live is newer.
        run = self._runs.get(workflow_id)
        if run is not None and run.projection.seq:
            return run.projection
        if found is None:
            raise WorkflowNotFound(workflow_id)
        return found

    async def compile(self, definition: bytes) -> Graph:
        """The graph of a definition. Raises InvalidWorkflow with every fault."""
        if len(definition) > LARGE_DEFINITION:
            return await asyncio.to_thread(compile_graph, definition, self._catalog, self._config.limits)
        return compile_graph(definition, self._catalog, self._config.limits)

    async def start_workflow(self, workflow_id: str, definition: bytes, *, by: str, command_id: str) -> CommandResult:
        """Starts a run and answers when its start is durable.

        Raises InvalidWorkflow, RunActive, ExecutorFull, CommandReused, ShuttingDown, StoreUnavailable.
        """
        graph = await self.compile(definition)
        async with self._locks.hold(workflow_id):
            repeated = await self._repeated(workflow_id, command_id, "start")
            if repeated is not None:
                return repeated
            self._refuse_if_unable()
            active = self._runs.get(workflow_id)
            if active is not None:
                if graph.config.on_conflict == "attach":
                    active.note(command_id, "start")
                    return CommandResult(workflow_id, active.run_id, active.state, active.projection.first_seq, True)
                if graph.config.on_conflict == "reject":
                    raise RunActive(workflow_id, active.run_id)
                await self._replace(active, by)
            self._refuse_if_full()
            head = await self._store.head(workflow_id)
            projection = RunProjection(workflow_id, new_run_id(self._now()))
            run = Run(self._runtime, graph, projection, head.seq)
            self._runs[workflow_id] = run
            self._metrics.runs_started.inc()
            seq = run.begin(definition, by=by, command_id=command_id)
            await run.durable(seq)
            return CommandResult(workflow_id, run.run_id, run.state, seq)

    async def pause(
        self, workflow_id: str, *, by: str, reason: str, command_id: str, immediate: bool = False
    ) -> CommandResult:
        """Lets no further node start. Raises IllegalCommand, WorkflowNotFound, CommandReused."""
        return await self._command(
            "pause",
            workflow_id,
            command_id,
            lambda run: run.pause(by=by, reason=reason, command_id=command_id, immediate=immediate),
        )

    async def retry(self, workflow_id: str, *, by: str, reason: str, command_id: str) -> CommandResult:
        """Runs what failed in the newest run, and what that cut off, again: the same run, its next generation.

        Raises IllegalCommand unless the run failed or was stopped, WorkflowNotFound, CommandReused, InvalidWorkflow.
        """
        async with self._locks.hold(workflow_id):
            repeated = await self._repeated(workflow_id, command_id, "retry")
            if repeated is not None:
                return repeated
            self._refuse_if_unable()
            record = await self._store.newest_run(workflow_id)
            if record is None:
                raise WorkflowNotFound(workflow_id)
            if workflow_id in self._runs or record.state not in (RunState.ERROR, RunState.STOPPED):
                raise IllegalCommand("retry", workflow_id, record.state)
            self._refuse_if_full()
            projection = await load_projection(self._store, record)
            graph = await self.compile(bytes(projection.definition))
            run = Run(self._runtime, graph, projection, projection.seq)
            self._runs[workflow_id] = run
            seq = run.retry(by=by, reason=reason, command_id=command_id)
            await run.durable(seq)
            return CommandResult(workflow_id, run.run_id, run.state, seq)

    async def resume(self, workflow_id: str, *, by: str, reason: str, command_id: str) -> CommandResult:
        """Lets nodes start again. Raises IllegalCommand, WorkflowNotFound, CommandReused."""
        return await self._command(
            "resume", workflow_id, command_id, lambda run: run.resume(by=by, reason=reason, command_id=command_id)
        )

    async def stop(
        self, workflow_id: str, *, by: str, reason: str, command_id: str, grace_ms: int | None
    ) -> CommandResult:
        """Ends the active run; `grace_ms` None at once. Raises IllegalCommand, WorkflowNotFound, CommandReused."""
        return await self._command(
            "stop",
            workflow_id,
            command_id,
            lambda run: run.stop(by=by, reason=reason, command_id=command_id, grace_ms=grace_ms),
        )

    async def _command(self, name: str, workflow_id: str, command_id: str, act: Callable[[Run], int]) -> CommandResult:
        async with self._locks.hold(workflow_id):
            repeated = await self._repeated(workflow_id, command_id, name)
            if repeated is not None:
                return repeated
            self._refuse_if_unable()
            run = self._runs.get(workflow_id)
            if run is None:
                state = (await self.projection(workflow_id)).state
                raise IllegalCommand(name, workflow_id, state)
            if run.state not in _LEGAL[name]:
                raise IllegalCommand(name, workflow_id, run.state)
            seq = act(run)
            state = run.state
            await run.durable(seq)
            return CommandResult(workflow_id, run.run_id, state, seq)

    async def _repeated(self, workflow_id: str, command_id: str, name: str) -> CommandResult | None:
        """The answer to a command that was accepted before."""
        record = await self._store.find_command(workflow_id, command_id) if command_id else None
        if record is None:
            return None
        if record.name != name:
            raise CommandReused(command_id)
        run = self._runs.get(workflow_id)
        state = run.state if run and run.run_id == record.run_id else (await self.projection(workflow_id)).state
        return CommandResult(workflow_id, record.run_id, state, record.seq)

    async def _replace(self, active: Run, by: str) -> None:
        if active.state is not RunState.STOPPING:
            active.stop(by=by, reason="replaced", command_id="", grace_ms=None)
        await active.ended.wait()

    def _refuse_if_full(self) -> None:
        if len(self._runs) >= self._config.max_runs:
            raise ExecutorFull(self._config.max_runs)

    def _refuse_if_unable(self) -> None:
        if self._closing:
            raise ShuttingDown
        if not self.healthy:
            raise StoreUnavailable("events can't be written now; see the executor's log")

    def _committed(self, batches: Sequence[Batch]) -> None:
        events = 0
        for batch in batches:
            events += len(batch.events)
            run = self._runs.get(batch.workflow_id)
            if run is not None and run.run_id == batch.run_id:
                try:
                    run.committed(batch)
                except Exception:
                    # A fault in one run must not end the commits of all others; at the next start it is tried again.
                    _log.critical("run %s of %s stands still", run.run_id, run.workflow_id, exc_info=True)
                    del self._runs[run.workflow_id]
        self._metrics.events.inc(events)
        self._listener.committed(batches)

    def _ended(self, run: Run) -> None:
        self._runs.pop(run.workflow_id, None)
        projection = run.projection
        self._metrics.runs_ended.labels(projection.state.value).inc()
        self._metrics.run_seconds.observe(((projection.ended_at or 0) - projection.started_at) / 1000)

    def _blocked(self, attempt: Attempt, beside: Sequence[Attempt]) -> None:
        seconds = self._config.blocked_loop_seconds
        failure = Failure(
            f"the node's code blocked its event loop for more than {seconds:g} s; "
            "await instead, or declare the node as a plain def to run it in a thread",
            "node_blocked",
        )
        for run in list(self._runs.values()):
            run.attempts.finish_blocked(attempt, failure)
            run.move(beside)

    async def _recover(self, record: RunRecord) -> None:
        projection = await load_projection(self._store, record)
        try:
            graph = await self.compile(bytes(projection.definition))
        except InvalidWorkflow as error:
            _log.error("run %s of %s can't go on: %s", projection.run_id, projection.workflow_id, error)
            lost = given_up(projection, f"the run can't go on after a restart: {error}", self._now())
            self._listener.committed(await self._store.append([lost]))
            return
        run = Run(self._runtime, graph, projection, projection.seq)
        self._runs[projection.workflow_id] = run
        self._metrics.runs_recovered.inc()
        run.recover()
        _log.info("run %s of %s goes on after a restart", run.run_id, run.workflow_id)

    async def _retain(self) -> None:
        while True:
            try:
                deleted = await self._store.retain(self._config.retention, self._now())
                if deleted:
                    _log.info("retention deleted %d ended runs", deleted)
            except StoreUnavailable as error:
                _log.error("retention failed: %s", error)
            await asyncio.sleep(RETENTION_INTERVAL)

    def _spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_complain)
        self._tasks.append(task)


_LEGAL: Mapping[str, frozenset[RunState]] = {
    "pause": frozenset({RunState.RUNNING}),
    "resume": frozenset({RunState.PAUSING, RunState.PAUSED}),
    "stop": frozenset({RunState.RUNNING, RunState.PAUSING, RunState.PAUSED, RunState.STOPPING}),
}


class _Nobody:
    """The listener of an engine that nobody listens to."""

    def committed(self, batches: Sequence[Batch]) -> None:
        pass

    def telemetry(self, workflow_id: str, run_id: str, event: Telemetry) -> None:
        pass


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("task %s died; the executor is no longer ready", task.get_name(), exc_info=error)
