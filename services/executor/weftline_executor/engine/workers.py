"""The pool of worker processes: started when they are needed, used again, and never more than a limit."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from weftline_executor.engine.worker import Worker
from weftline_executor.metrics import Metrics

MAX_ATTEMPTS = 200
"""A worker is replaced after so many attempts, whatever they left behind in it."""

MAX_WORKERS = 256
THREADS = 4
"""So many workers are started, or waited for at their end, at once."""

IDLE_SECONDS = 300.0
CLOSE_SECONDS = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Limits of worker processes; see the settings `process_…`. `environment` is what they are given."""

    workers: int = 0
    memory_mb: int = 512
    cpu_seconds: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """How many there may be."""
        return self.workers or min(MAX_WORKERS, os.cpu_count() or 1)


class WorkerPool:
    """Hands out workers, to one caller each; who finds none free waits in turn."""

    def __init__(self, config: WorkerConfig, max_output: int, metrics: Metrics) -> None:
        self._config = config
        self._max_output = max_output
        self._metrics = metrics
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._timers: dict[Worker, asyncio.TimerHandle] = {}
        # Gives a worker, or None for the right to start one.
        self._waiting: deque[asyncio.Future[Worker | None]] = deque()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="weftline-workers")
        self._reserved = 0
        self._started = 0
        self._closed = False
        metrics.process_workers.set_function(lambda: len(self._workers))
        metrics.process_waiting.set_function(lambda: len(self._waiting))

    async def acquire(self) -> Worker:
        """Waits for a worker that is free, or starts one. Raises OSError, TimeoutError, WorkerLost."""
        while self._idle:
            worker = self._idle[-1]
            self._take(worker)
            if worker.alive:
                return worker
        if len(self._workers) + self._reserved >= self._config.most:
            handed = await self._wait()
            if handed is not None:
                return handed
            self._reserved -= 1
        return await self._start()

    def release(self, worker: Worker, reusable: bool) -> None:
        """Takes a worker back; one that is not as it was before is ended."""
        if worker not in self._workers:
            return  # it has died meanwhile
        if self._closed or not reusable or worker.attempts >= MAX_ATTEMPTS or not worker.alive:
            worker.kill()
        else:
            self._hand_on(worker)

    async def close(self) -> None:
        """Ends all workers and what came of them."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        serving = [worker.serving for worker in self._workers if worker.serving is not None]
        for worker in list(self._workers):
            worker.kill()
        if serving:
            await asyncio.wait(serving, timeout=CLOSE_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _wait(self) -> Worker | None:
        turn: asyncio.Future[Worker | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled():
                # It was its turn in the same moment.
                self._pass_on(turn.result())
            raise

    def _pass_on(self, handed: Worker | None) -> None:
        if handed is not None:
            self.release(handed, reusable=True)
            return
        self._reserved -= 1
        self._let_next_start()

    async def _start(self) -> Worker:
        self._started += 1
        worker = Worker(self._started, self._max_output, self._config.environment, self._threads, self._gone)
        self._workers.add(worker)
        await worker.start()
        return worker

    def _hand_on(self, worker: Worker) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(worker)
                return
        self._idle.append(worker)
        self._timers[worker] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire, worker)

    def _take(self, worker: Worker) -> None:
        """Takes a worker out of those that are idle."""
        self._idle.remove(worker)
        self._timers.pop(worker).cancel()

    def _retire(self, worker: Worker) -> None:
        self._take(worker)
        worker.kill()

    def _gone(self, worker: Worker) -> None:
        self._workers.discard(worker)
        if worker in self._idle:
            self._take(worker)
            if not worker.killed:
                self._metrics.process_workers_lost.inc()
                _log.warning("worker %d ended while it had nothing to do", worker.number)
        self._let_next_start()

    def _let_next_start(self) -> None:
        while self._waiting and not self._closed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._reserved += 1
                turn.set_result(None)
                return
