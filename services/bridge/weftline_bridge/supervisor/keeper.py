"""Keeps one worker running: starts its process, talks with it, and starts it again when it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from weftline_bridge.errors import NoAnswerError, WorkerFailedError
from weftline_bridge.workers.channel import Channel
from weftline_bridge.workers.messages import Post, Said
from weftline_bridge.workers.restarts import Restarts

_log = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long a worker may take until it serves clients."""

BAD_SETTING = 2
"""The status of a worker that can't work with its settings; it has said which one it is."""

_PARTING_SECONDS = 5.0

Request = Callable[["Keeper", msgspec.Raw], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What all workers have in common: the arguments of their command, their number, and where metrics are told."""

    arguments: Sequence[str]
    workers: int
    metrics: str


@dataclass(slots=True)
class _Life:
    """One process, and the channel to it once that is there."""

    process: Process
    channel: Channel | None = None
    served: asyncio.Event = field(default_factory=asyncio.Event)


class Keeper:
    """Worker `number`, which accepts clients on `listeners`.

    `request` is called with what it asks the supervisor, `ended` when it ended unasked; `deaths` counts that. `serving`
    is set while it serves clients.
    """

    def __init__(
        self,
        number: int,
        listeners: Sequence[socket.socket],
        plan: Plan,
        *,
        request: Request,
        ended: Callable[[Keeper], None],
    ) -> None:
        self.number = number
        self.serving = asyncio.Event()
        self.deaths = 0
        self._listeners = listeners
        self._plan = plan
        self._request = request
        self._ended = ended
        self._stopping = asyncio.Event()
        self._life: _Life | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._life is not None

    def serves(self) -> None:
        """Take note that the worker has begun to serve clients."""
        if self._life is not None:
            self._life.served.set()
            self.serving.set()

    async def ask(self, question: object, seconds: float) -> Said:
        """Put a question to the worker; what it said, or why it said nothing."""
        life = self._life
        if life is None or life.channel is None or not self.serving.is_set():
            return Said(self.number, "away")
        try:
            return Said(self.number, "answered", await life.channel.ask(question, seconds))
        except NoAnswerError:
            return Said(self.number, "away" if life is not self._life else "silent")

    def stop(self) -> None:
        """Have the worker end in order, and start it no more."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process whatever it does."""
        self._signal(signal.SIGKILL)

    async def keep(self) -> None:
        """Keep the worker running until it is stopped; raises WorkerFailedError when it does not come to serve."""
        restarts = Restarts()
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            status, served = await self._live()
            if self._stopping.is_set():
                return
            self.deaths += 1
            self._ended(self)
            lived = loop.time() - began
            pause = restarts.ended(lived, served=served)
            refused = status == BAD_SETTING and self.deaths == 1 and not served
            if pause is None or refused:
                if not refused:
                    _log.error("worker %d ended again and again before it served clients", self.number)
                raise WorkerFailedError(self.number, status)
            how = "was not serving in time" if status is None else f"ended with status {status}"
            _log.warning("worker %d %s after %.1f s; it is started again in %g s", self.number, how, lived, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    async def _live(self) -> tuple[int | None, bool]:
        """One life: the status of its process, None if that had to be killed at its start, and whether it served."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await self._start(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        life = self._life = _Life(process)
        if self._stopping.is_set():
            self._signal(signal.SIGTERM)
        life.channel = await Channel.over(ours, self._asked)
        talking = asyncio.create_task(life.channel.serve(), name=f"worker-{self.number}-channel")
        watching = asyncio.create_task(self._watch(life, talking), name=f"worker-{self.number}-watch")
        try:
            status = await process.wait()
            late = watching.done() and not life.served.is_set()
            # What it said last is still to be read.
            await asyncio.wait([talking], timeout=_PARTING_SECONDS)
            return None if late else status, life.served.is_set()
        finally:
            self._life = None
            self.serving.clear()
            for task in (watching, talking):
                task.cancel()
            await asyncio.gather(watching, talking, return_exceptions=True)

    async def _start(self, control: int) -> Process:
        post = Post(
            worker=self.number,
            workers=self._plan.workers,
            supervisor=os.getpid(),
            control=control,
            listeners=tuple(each.fileno() for each in self._listeners),
            metrics=self._plan.metrics,
        )
        # In a session of its own, so that the keys of a terminal reach the supervisor alone.
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "weftline_bridge",
            *self._plan.arguments,
            "--as-worker",
            msgspec.json.encode(post).decode(),
            stdin=DEVNULL,
            pass_fds=(control, *post.listeners),
            start_new_session=True,
        )

    async def _watch(self, life: _Life, talking: asyncio.Task[None]) -> None:
        """End a process that does not come to serve in time, or that talks no more."""
        serving = asyncio.create_task(life.served.wait(), name=f"worker-{self.number}-start")
        try:
            await asyncio.wait([serving, talking], timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
        if life.served.is_set():
            await asyncio.wait([talking])
        if not talking.done():
            self.kill()
            return
        await asyncio.sleep(_PARTING_SECONDS)
        if not self._stopping.is_set():
            self.kill()

    async def _asked(self, question: msgspec.Raw) -> object:
        return await self._request(self, question)

    def _signal(self, number: signal.Signals) -> None:
        if self._life is not None:
            with contextlib.suppress(ProcessLookupError):
                self._life.process.send_signal(number)
