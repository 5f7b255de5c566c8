"""Runs nodes in worker processes: one attempt each at a time, ended by a message or else by force."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping

import msgspec

from weftline_executor.engine.launch import Launch
from weftline_executor.engine.outcome import (
    MAX_CODE,
    MAX_DETAILS,
    MAX_ERROR,
    Failure,
    Result,
    failure_of,
    result_of,
    told,
    without_secrets,
)
from weftline_executor.engine.worker import Ended, Worker, WorkerLost
from weftline_executor.engine.workers import WorkerConfig, WorkerPool
from weftline_executor.metrics import Metrics
from weftline_executor.nodes import ArtifactKeeper, Branch, Context, ContextSink, SecretSession
from weftline_executor.nodes.worker.messages import NULL, OUT_OF_MEMORY, Begin, Failed, Succeeded

CANCEL_SECONDS = 1.0
"""What an attempt has to end by itself when it is cancelled."""

LARGE = 256 * 1024
"""An output over so many bytes is looked through in a thread."""

TRIES = 3
"""How many workers an attempt is given to, as long as they die before its code is called."""

_TRUNCATED = b'{"truncated":true}'
_log = logging.getLogger(__name__)


class Processes:
    """Runs attempts in worker processes; `Owner.finish` is called once for each, in the engine's event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: WorkerConfig, max_output: int, metrics: Metrics
    ) -> None:
        self._loop = loop
        self._config = config
        self._max_output = max_output
        self._metrics = metrics
        self._pool = WorkerPool(config, max_output, metrics)
        self._tasks: set[asyncio.Task[Result]] = set()
        self._closed = False

    def launch(self, launch: Launch, context: Context, sink: ContextSink, secrets: SecretSession) -> None:
        """Begins an attempt; what its settings are rendered to is its failure, too."""
        keeper = context.artifacts.keeper
        run = _Run(self._pool, launch, lambda: _begin(launch, context, self._config), sink, secrets, keeper)
        task = self._loop.create_task(self._run(run), name=f"process node:{launch.attempt.node_id}")
        run.task = task
        launch.attempt.cancel = run.cancel
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._done(launch, task))

    async def close(self) -> None:
        """Ends all attempts, unheard, and all workers."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.close()

    async def _run(self, run: _Run) -> Result:
        try:
            ended = await run.attempt()
        except WorkerLost as lost:
            if not lost.killed:
                self._metrics.process_workers_lost.inc()
            return _lost(lost, run.begin)
        except (OSError, TimeoutError) as error:
            return Failure(f"no worker process could be started: {error or 'it took too long'}", "worker_lost")
        finally:
            run.close()
        if isinstance(ended, Succeeded) and len(ended.output) > LARGE:
            return await asyncio.to_thread(self._result, ended, run)
        return self._result(ended, run)

    def _result(self, ended: Ended, run: _Run) -> Result:
        if isinstance(ended, Failed):
            return without_secrets(_failed(ended, run.launch, run.secrets), run.secrets)
        output = None if bytes(ended.output) == bytes(NULL) else ended.output
        value = ended.wait or ended.skip or (output if ended.handle is None else Branch(ended.handle, output))
        return without_secrets(result_of(value, run.launch.node.handles, self._max_output), run.secrets)

    def _done(self, launch: Launch, task: asyncio.Task[Result]) -> None:
        self._tasks.discard(task)
        if self._closed:
            return
        if task.cancelled():
            result: Result = Failure("cancelled before a worker process was free", "cancelled")
        elif (error := task.exception()) is not None:
            result = failure_of(error, launch.where, launch.attempt.secrets)
        else:
            result = task.result()
        launch.owner.finish(launch.attempt, result)


class _Run:
    """One attempt on its way through the pool."""

    def __init__(
        self,
        pool: WorkerPool,
        launch: Launch,
        make: Callable[[], Begin],
        sink: ContextSink,
        secrets: SecretSession,
        keeper: ArtifactKeeper,
    ) -> None:
        self.launch = launch
        self.begin: Begin | None = None
        self._make = make
        self.secrets = secrets
        self.task: asyncio.Task[Result] | None = None
        self._pool = pool
        self._sink = sink
        self._keeper = keeper
        self._worker: Worker | None = None
        self._grace: asyncio.TimerHandle | None = None

    async def attempt(self) -> Ended:
        """Runs the attempt; gives it to another worker when one dies before the node's code is called."""
        # What has much to read is rendered apart from the loop, which serves other runs.
        begin = self.begin = await asyncio.to_thread(self._make) if self.launch.heavy else self._make()
        for left in reversed(range(TRIES)):
            worker = await self._pool.acquire()
            reusable = False
            try:
                self._worker = worker
                ended = await worker.run(begin, self._sink, self.secrets, self._keeper)
                reusable = ended.reusable
                return ended
            except WorkerLost as lost:
                if lost.began or lost.killed or not left:
                    raise
            finally:
                self._worker = None
                self._pool.release(worker, reusable)
        raise AssertionError("the last try returns or raises")

    def cancel(self) -> None:
        """Asks the attempt to end, and sees to it that it does: at once if nobody waits for it any more."""
        if self._worker is None:
            if self.task is not None:
                self.task.cancel()
            return
        self._worker.cancel()
        # Whoever cancels may say right after it that the attempt counts no more.
        loop = asyncio.get_running_loop()
        loop.call_soon(self._kill_if_done)
        if self._grace is None:
            self._grace = loop.call_later(CANCEL_SECONDS, self._kill)

    def close(self) -> None:
        """The attempt has ended."""
        if self._grace is not None:
            self._grace.cancel()

    def _kill_if_done(self) -> None:
        if self.launch.attempt.done:
            self._kill()

    def _kill(self) -> None:
        if self._worker is not None:
            self._worker.kill()


def _begin(launch: Launch, context: Context, config: WorkerConfig) -> Begin:
    node_type = launch.node.type
    limits = node_type.limits
    memory_mb = config.memory_mb if limits.memory_mb is None else limits.memory_mb
    cpu_seconds = config.cpu_seconds if limits.cpu_seconds is None else limits.cpu_seconds
    return Begin(
        node_type.name,
        node_type.function.__module__,
        _object(launch.node.call.rendered(launch.scope)),
        _object(launch.inputs),
        _object(launch.scope.params),
        context.workflow_id,
        context.run_id,
        context.node_id,
        context.attempt,
        context.idempotency_key,
        launch.attempt.already_ms / 1000,
        memory_mb << 20,
        cpu_seconds,
        context.traceparent,
    )


def _object(values: Mapping[str, object]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(dict(values)))


def _failed(failed: Failed, launch: Launch, secrets: SecretSession) -> Failure:
    if failed.trace:
        trace = "" if secrets.used else f"\n{failed.trace}"
        _log.info("%s raised in its worker process%s", launch.where, trace)
    details = bytes(failed.details)
    return Failure(
        told(failed.error, MAX_ERROR, secrets),
        told(failed.code, MAX_CODE, secrets),
        b"" if details == bytes(NULL) else details if len(details) <= MAX_DETAILS else _TRUNCATED,
        failed.retryable,
        failed.retry_after,
    )


def _lost(lost: WorkerLost, begin: Begin | None) -> Failure:
    if begin is not None and lost.status == -signal.SIGXCPU:
        return Failure(f"the node computed for longer than {begin.cpu} s", "cpu_limit")
    if begin is not None and lost.status == OUT_OF_MEMORY:
        return Failure(f"the node ran out of memory, of which it may take {begin.memory >> 20} MB", "out_of_memory")
    hint = "; perhaps the machine ran out of memory" if lost.status == -signal.SIGKILL and not lost.killed else ""
    return Failure(f"{lost}{hint}", "worker_lost")
