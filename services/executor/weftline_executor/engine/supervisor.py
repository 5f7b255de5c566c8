"""The engine as a whole: accepts commands, keeps the active runs, recovers them at start, and tells a listener."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from weftline_executor.artifacts import MEMORY, Artifacts, Entries, Files
from weftline_executor.engine.archive import Archive, given_up, load_projection
from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.bodies import Bodies
from weftline_executor.engine.commands import Commands
from weftline_executor.engine.commit import Committer
from weftline_executor.engine.compiler import Compiler
from weftline_executor.engine.errands import Errands
from weftline_executor.engine.estimate import DurationHistory
from weftline_executor.engine.large_outputs import LargeOutputs
from weftline_executor.engine.launch import Catalog
from weftline_executor.engine.launcher import Launcher
from weftline_executor.engine.node_artifacts import ArtifactAccess
from weftline_executor.engine.nodeloop import NodeLoops
from weftline_executor.engine.outcome import Failure
from weftline_executor.engine.planner import Planner
from weftline_executor.engine.processes import Processes
from weftline_executor.engine.result_cache import CacheConfig, ResultCache
from weftline_executor.engine.retention import Retainer
from weftline_executor.engine.run import Run
from weftline_executor.engine.runtime import Runtime
from weftline_executor.engine.slots import Slots
from weftline_executor.engine.workers import WorkerConfig
from weftline_executor.errors import (
    BatchRefused,
    InvalidWorkflow,
    ShuttingDown,
    StoreUnavailable,
    WorkflowNotFound,
)
from weftline_executor.graph import Graph, Limits
from weftline_executor.metrics import Metrics
from weftline_executor.model.events import ParentNode, Telemetry
from weftline_executor.model.records import Batch, Retention, RunRecord
from weftline_executor.replay import RunProjection
from weftline_executor.store import Store
from weftline_executor.tracing import Tracing

CLOSE_SECONDS = 5.0
"""How long the end waits for what is being stored, and for what is being committed."""

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who is told what becomes durable, in order, and the telemetry in between."""

    def committed(self, batches: Sequence[Batch]) -> None:
        """These batches are durable."""

    def telemetry(self, workflow_id: str, run_id: str, event: Telemetry) -> None:
        """A run or a node made progress."""

    def listening(self, workflow_id: str) -> bool:
        """Whether anybody would be told of progress."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Limits of the engine; see the settings of the same names."""

    concurrency: int = 256
    max_runs: int = 10_000
    max_output_bytes: int = 64 << 20
    artifact_bytes: int = 32 << 10
    max_artifact_bytes: int = 64 << 20
    cache: CacheConfig = field(default_factory=CacheConfig)
    blocked_loop_seconds: float = 5.0
    workers: WorkerConfig = field(default_factory=WorkerConfig)
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=lambda: Retention(7 * 86_400_000, 100, 8 << 30))


class Engine:
    """Runs workflows over a store. Use: `await start()`, `commands`, `await close()`; `listener` is told everything.

    `runs` are the active ones by workflow, `planner` says when nodes run, `artifacts` are what nodes have stored, in
    `files` that the engine opens and closes, or in memory. `tracing` is told what becomes durable. `failed` is set when
    a part that nothing works without has died: only a new process helps then, which goes on from the log. `now` gives
    milliseconds since the Unix epoch.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        secrets: Mapping[str, str],
        metrics: Metrics,
        config: EngineConfig,
        now: Callable[[], int],
        files: Files | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._store = store
        self._files = files or Files(MEMORY)
        self._config = config
        self._metrics = metrics
        self._now = now
        self._tracing = tracing
        self._loops = NodeLoops(config.blocked_loop_seconds)
        self._committer = Committer(store, metrics, self._committed, self._tell, self._unwritable, self._refused)
        loop = asyncio.get_running_loop()
        self.runs: dict[str, Run] = {}
        self._processes = Processes(loop, config.workers, config.max_output_bytes, metrics)
        self._errands = Errands(loop)
        self.artifacts = Artifacts(self._files)
        outputs = LargeOutputs(self.artifacts, self._errands, config.artifact_bytes, config.max_output_bytes)
        self._bodies = Bodies(loop, self.runs, self, outputs)
        access = ArtifactAccess(self.artifacts, loop, config.max_artifact_bytes)
        limit = config.max_output_bytes
        launcher = Launcher(loop, self._loops, self._processes, secrets, limit, access, traces=tracing is not None)
        self._results = ResultCache(Entries(self._files), self._errands, launcher, metrics, config.cache, now)
        self._runtime = Runtime(
            loop,
            now,
            self._committer,
            launcher,
            self.artifacts,
            outputs,
            self._results,
            self._errands,
            Slots(config.concurrency),
            self._bodies,
            DurationHistory(),
            Compiler(catalog, config.limits),
            metrics,
            catalog,
            self._telemetry,
            self._listening,
            self._ended,
        )
        self._listener: Listener = _Nobody()
        self._recovered = asyncio.Event()
        self.commands = Commands(self, store, self._runtime, config.max_runs)
        self.failed = asyncio.Event()
        self._archive = Archive(store)
        self.planner = Planner(self._runtime, self.compile)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._show(metrics)

    def _show(self, metrics: Metrics) -> None:
        metrics.runs_active.set_function(lambda: len(self.runs))
        metrics.nodes_running.set_function(lambda: self._runtime.slots.used)
        metrics.nodes_waiting.set_function(lambda: sum(len(run.scheduler) for run in self.runs.copy().values()))
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
        return len(self.runs)

    def attach(self, listener: Listener) -> None:
        """Tells `listener` everything from now on, instead of whoever was told before."""
        self._listener = listener

    async def start(self) -> None:
        """Begins to commit, and goes on with every run that has not ended. Raises ArtifactsUnusable."""
        await self._files.open(self._store.log_id)
        self._spawn("committer", self._committer.run())
        retainer = Retainer(self._store, self.artifacts, self._results, self._config.retention, self._now)
        await retainer.look_around()
        self._spawn("retention", retainer.run())
        self._spawn("node-loop-watch", self._loops.watch(self._blocked))
        for record in await self._store.active_runs():
            try:
                await self._recover(record)
            except Exception:
                # What is wrong with one run must not keep the others from going on.
                _log.critical("run %s of %s can't be recovered", record.run_id, record.workflow_id, exc_info=True)
        self._bodies.recovered()
        self._recovered.set()

    async def begin_body(
        self, workflow_id: str, definition: bytes, parent: ParentNode, since: int, trace: str
    ) -> Run | RunProjection:
        """See Starter."""
        # A body that ran when the process died may be among the runs that are still to be recovered.
        await self._recovered.wait()
        return await self.commands.begin_body(workflow_id, definition, parent, since, trace)

    async def recovered(self) -> None:
        """See Starter."""
        await self._recovered.wait()

    async def close(self) -> None:
        """Refuses commands, lets what was decided become durable, and stops; active runs go on at the next start."""
        self._closing = True
        self._runtime.slots.close()
        await self._errands.close(CLOSE_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._committer.drained(), CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bodies.close()
        self._loops.stop()
        await self._processes.close()
        await self._files.close()

    def active(self, workflow_id: str) -> Run | None:
        """The workflow's active run."""
        return self.runs.get(workflow_id)

    def active_workflows(self) -> list[str]:
        """The ids of all workflows with an active run."""
        return list(self.runs)

    async def projection(self, workflow_id: str) -> RunProjection:
        """The state of a workflow's newest run. Raises WorkflowNotFound."""
        run = self.runs.get(workflow_id)
        found = run.projection if run and run.projection.seq else await self._archive.newest(workflow_id)
        # A run may have begun while the log was read; what is live is newer.
        run = self.runs.get(workflow_id)
        if run is not None and run.projection.seq:
            return run.projection
        if found is None:
            raise WorkflowNotFound(workflow_id)
        return found

    async def compile(self, definition: bytes) -> Graph:
        """The graph of a definition. Raises InvalidWorkflow with every fault."""
        return await self._runtime.compiler.compile(definition)

    def refuse_if_unable(self) -> None:
        """See Host."""
        if self._closing:
            raise ShuttingDown
        if not self.healthy:
            raise StoreUnavailable("events can't be written now; see the executor's log")

    def _committed(self, batches: Sequence[Batch]) -> None:
        events = 0
        for batch in batches:
            events += len(batch.events)
            run = self.runs.get(batch.workflow_id)
            if run is not None and run.run_id == batch.run_id:
                try:
                    if self._tracing is not None:
                        self._tracing.committed(run, batch.events)
                    run.committed(batch)
                    if run.projection.parent is not None:
                        self._bodies.changed(run)
                except Exception:
                    # A fault in one run must not end the commits of all others; at the next start it is tried again.
                    _log.critical("run %s of %s stands still", run.run_id, run.workflow_id, exc_info=True)
                    del self.runs[run.workflow_id]
        self._metrics.events.inc(events)

    def _tell(self, batches: Sequence[Batch]) -> None:
        if batches:
            self._listener.committed(batches)

    def _refused(self, error: BatchRefused) -> None:
        for workflow_id in error.workflow_ids:
            run = self.runs.pop(workflow_id, None)
            if run is not None:
                _log.critical("run %s of %s stands still: %s", run.run_id, workflow_id, error)
                run.journal.unwritable(error)

    def _telemetry(self, workflow_id: str, run_id: str, event: Telemetry) -> None:
        self._listener.telemetry(workflow_id, run_id, event)

    def _listening(self, workflow_id: str) -> bool:
        return self._listener.listening(workflow_id)

    def _unwritable(self, error: StoreUnavailable) -> None:
        for run in list(self.runs.values()):
            run.journal.unwritable(error)

    def _ended(self, projection: RunProjection) -> None:
        self.runs.pop(projection.workflow_id, None)
        self._bodies.ended(projection)
        self._metrics.runs_ended.labels(projection.state.value).inc()
        self._metrics.run_seconds.observe(max(0, (projection.ended_at or 0) - projection.started_at) / 1000)

    def _blocked(self, attempt: Attempt, beside: Sequence[Attempt]) -> None:
        seconds = self._config.blocked_loop_seconds
        failure = Failure(
            f"the node's code blocked its event loop for more than {seconds:g} s; "
            "await instead, or declare the node as a plain def to run it in a thread",
            "node_blocked",
        )
        for run in list(self.runs.values()):
            run.attempts.finish_blocked(attempt, failure)
            run.move(beside)

    async def _recover(self, record: RunRecord) -> None:
        projection = await load_projection(self._store, record)
        try:
            graph = await self.compile(bytes(projection.definition))
        except InvalidWorkflow as error:
            _log.error("run %s of %s can't go on: %s", projection.run_id, projection.workflow_id, error)
            lost = given_up(projection, f"the run can't go on after a restart: {error}", self._now())
            stored = await self._store.append([lost])
            if self._tracing is not None:
                self._tracing.given_up(projection, lost.events)
            self._listener.committed(stored)
            return
        run = Run(self._runtime, graph, projection, projection.seq)
        self.runs[projection.workflow_id] = run
        self._metrics.runs_recovered.inc()
        run.recover()
        _log.info("run %s of %s goes on after a restart", run.run_id, run.workflow_id)

    def _died(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("task %s died, so the executor ends", task.get_name(), exc_info=error)
            self.failed.set()

    def _spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(self._died)
        self._tasks.append(task)


class _Nobody:
    """The listener of an engine that nobody listens to."""

    def committed(self, batches: Sequence[Batch]) -> None:
        pass

    def telemetry(self, workflow_id: str, run_id: str, event: Telemetry) -> None:
        pass

    def listening(self, workflow_id: str) -> bool:
        return False
