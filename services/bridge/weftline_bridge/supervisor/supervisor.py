"""Starts the workers, passes on what they ask each other, and ends them all."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence

import msgspec

from weftline_bridge import __version__
from weftline_bridge.settings import Settings
from weftline_bridge.supervisor.counts import REPORT_SECONDS, Counts
from weftline_bridge.supervisor.keeper import Keeper, Plan
from weftline_bridge.supervisor.listening import close, listen
from weftline_bridge.supervisor.scraping import Scraping
from weftline_bridge.workers.messages import Leaving, Others, Request, Serving

_log = logging.getLogger(__name__)

ASK_SECONDS = 2.0
"""How long one worker waits for the answers of the others."""

END_SECONDS = 6.0
"""How much longer than its drain a worker may take to end; it ends itself a second before that."""

_request = msgspec.msgpack.Decoder(Request).decode


class Supervisor:
    """The workers of one bridge; `arguments` are those of its command line."""

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        self._settings = settings
        self._arguments = arguments
        self._keepers: list[Keeper] = []
        self._counts = Counts(self._keepers)
        self._scraping = Scraping(self._counts.scrape)
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; raises ListenError or WorkerFailedError."""
        settings = self._settings
        sockets = listen(settings.listen, "LISTEN", settings.workers)
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            metrics = await self._scraping.start(settings.metrics_listen, "METRICS_LISTEN")
            plan = Plan(self._arguments, settings.workers, metrics)
            self._keepers += [
                Keeper(number, each, plan, request=self._answer, ended=self._ended)
                for number, each in enumerate(sockets, 1)
            ]
            self._tasks.append(asyncio.create_task(self._report(), name="reports"))
            # The first shows whether the settings are good; it alone then says what is wrong with them.
            if await self._start(self._keepers[:1], stopped) and await self._start(self._keepers[1:], stopped):
                host, port = sockets[0][0].getsockname()[:2]
                _log.info(
                    "weftline-bridge %s: listening on ws://%s:%d, metrics on http://%s/metrics, executor at %s, "
                    "%d workers",
                    *(__version__, host, port, metrics, settings.executor, settings.workers),
                )
                await self._first_of(stopped)
        finally:
            stopped.cancel()
            await self._end()
            for each in sockets:
                close(each)

    async def _start(self, keepers: Sequence[Keeper], stopped: asyncio.Task[bool]) -> bool:
        """Start workers; whether they serve clients now."""
        self._tasks += [asyncio.create_task(keeper.keep(), name=f"worker-{keeper.number}-keeper") for keeper in keepers]
        for keeper in keepers:
            serving = asyncio.create_task(keeper.serving.wait(), name=f"worker-{keeper.number}-serving")
            try:
                await self._first_of(serving, stopped)
            finally:
                serving.cancel()
        return not stopped.done()

    async def _first_of(self, *events: asyncio.Task[bool]) -> None:
        """Wait for one of these; raises what a task of the supervisor failed with."""
        done, _ = await asyncio.wait([*events, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def _end(self) -> None:
        running = sum(keeper.alive for keeper in self._keepers)
        if running:
            _log.info("ending: %d workers are told to end", running)
        for keeper in self._keepers:
            keeper.stop()
        seconds = self._settings.drain_seconds + END_SECONDS
        # The kernel ends the supervisor then, whatever hangs in it, and with it the workers.
        signal.setitimer(signal.ITIMER_REAL, seconds + END_SECONDS)
        keeping = [task for task in self._tasks if task.get_name() != "reports"]
        if keeping:
            _, late = await asyncio.wait(keeping, timeout=seconds)
            for keeper in self._keepers:
                keeper.kill()
            if late:
                await asyncio.wait(late)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._scraping.stop()
        if running:
            _log.info("ended")

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            try:
                await self._counts.gather()
            except Exception:
                _log.exception("the counts of the workers could not be taken")

    def _ended(self, keeper: Keeper) -> None:
        self._counts.ended(keeper.number)

    async def _answer(self, keeper: Keeper, question: msgspec.Raw) -> object:
        request: Request = _request(question)
        match request:
            case Serving():
                keeper.serves()
                return True
            case Leaving(families):
                self._counts.take(keeper.number, families)
                return True
            case Others(asked):
                others = [other for other in self._keepers if other is not keeper]
                return await asyncio.gather(*(other.ask(asked, ASK_SECONDS) for other in others))


async def supervise(settings: Settings, arguments: Sequence[str]) -> None:
    """Run several workers until SIGTERM or SIGINT.

    Raises ListenError, and WorkerFailedError when a worker can't be started.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Supervisor(settings, arguments).run(stop)
