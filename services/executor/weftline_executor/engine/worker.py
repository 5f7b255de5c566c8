"""One worker process as the executor sees it: started, given one attempt at a time, heard, and killed."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec

from weftline_executor.engine.output import OutputLog
from weftline_executor.guard import guarded
from weftline_executor.nodes import (
    ArtifactKeeper,
    ContextSink,
    NodeFailed,
    SecretMissing,
    SecretSession,
    SecretUnreadable,
)
from weftline_executor.nodes.worker.messages import (
    LENGTH,
    ArtifactDone,
    AskSecret,
    AskSecretNames,
    Begin,
    Begun,
    Cancel,
    Failed,
    FromWorker,
    GetArtifact,
    Log,
    Message,
    Partial,
    Progress,
    PutArtifact,
    Ready,
    Secret,
    SecretNames,
    Setup,
    Succeeded,
    frame,
    from_worker,
)

START_SECONDS = 60.0
END_SECONDS = 5.0
TAKEN_AT_ONCE = 20
LARGE = 256 * 1024
"""A message over so many bytes is decoded in a thread."""

_decode = from_worker.decode
_OVERHEAD = 2 << 20  # what the largest message holds beside an output
_log = logging.getLogger(__name__)

Ended: TypeAlias = Succeeded | Failed
T = TypeVar("T")


class WorkerLost(Exception):
    """A worker ended with `status` (negative for a signal) before its attempt did.

    `began` says whether the node's code may have run, `killed` whether the executor killed the worker itself.
    """

    def __init__(self, status: int, began: bool, killed: bool) -> None:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        how = f"was killed by {name}" if status < 0 else f"ended with status {status}"
        super().__init__(f"the worker process {how}")
        self.status = status
        self.began = began
        self.killed = killed


@dataclass(slots=True)
class _Call:
    """The attempt that a worker is at, and whom it talks to."""

    sink: ContextSink
    secrets: SecretSession
    keeper: ArtifactKeeper
    ended: asyncio.Future[Ended]
    began: bool = False


class Worker:
    """A worker process under a guard; `attempts` counts what it was given, `killed` says that it was told to end.

    `threads` are where it is started and waited for: through uvloop a start would hold the event loop for 4 to 8 ms.
    `on_ended` is called in the event loop when the process is gone with all that came of it, or could not be started.
    """

    def __init__(
        self,
        number: int,
        max_output: int,
        environment: Mapping[str, str],
        threads: Executor,
        on_ended: Callable[[Worker], None],
    ) -> None:
        self.number = number
        self.attempts = 0
        self.serving: asyncio.Task[None] | None = None
        self._max_output = max_output
        self._environment = environment
        self._threads = threads
        self._on_ended = on_ended
        self._output = OutputLog(f"worker {number}")
        self._call: _Call | None = None
        self._lifeline = -1
        self.killed = False
        self._over = False
        self._ready = asyncio.Event()
        self._status: int | None = None
        self._refused: OSError | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def alive(self) -> bool:
        """Whether attempts can be given to it."""
        return self._ready.is_set() and not self.killed and not self._over

    async def start(self) -> None:
        """Starts the process and waits until it is ready. Raises OSError, TimeoutError, WorkerLost."""
        self.serving = asyncio.get_running_loop().create_task(self._live(), name=f"weftline-worker-{self.number}")
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._ready.wait()
        except BaseException:
            self.kill()
            raise
        if self._refused is not None:
            raise self._refused
        if self._status is not None:
            raise WorkerLost(self._status, began=False, killed=self.killed)
        self._send(Setup(tuple(sys.path), self._max_output))

    async def run(self, begin: Begin, sink: ContextSink, secrets: SecretSession, keeper: ArtifactKeeper) -> Ended:
        """Runs an attempt to its end; what it says goes to `sink`. Raises WorkerLost."""
        if not self.alive:
            raise WorkerLost(self._status or 0, began=False, killed=self.killed)
        self.attempts += 1
        self._output.attend(secrets)
        self._call = call = _Call(sink, secrets, keeper, asyncio.get_running_loop().create_future())
        try:
            self._send(begin)
            return await call.ended
        finally:
            self._call = None

    def cancel(self) -> None:
        """Asks the attempt to end."""
        self._send(Cancel())

    def kill(self) -> None:
        """Ends the process and all that came of it; `on_ended` is called when that is done."""
        self.killed = True
        self._cut()

    def _cut(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    async def _live(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            lifeline, self._lifeline = os.pipe()
            if self.killed:
                self._cut()
            with theirs:
                process = await self._in_thread(self._spawn, lifeline, theirs)
        except OSError as error:
            self._refused = error
            ours.close()
            self._end()
        else:
            await self._serve(process, ours)

    def _spawn(self, lifeline: int, line: socket.socket) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "weftline_executor.nodes.worker", str(line.fileno())]
        try:
            return subprocess.Popen(  # noqa: S603 - the command is our own
                guarded(program, lifeline, [line.fileno()]),
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=(lifeline, line.fileno()),
                start_new_session=True,
            )
        finally:
            os.close(lifeline)

    async def _serve(self, process: subprocess.Popen[bytes], line: socket.socket) -> None:
        output = asyncio.get_running_loop().create_task(
            self._output.follow(process.stdout), name=f"weftline-worker-{self.number}-output"
        )
        try:
            reader, self._writer = await asyncio.open_connection(sock=line)
            await self._hear(reader)
        except (OSError, EOFError, ValueError, RecursionError) as error:
            if not self.killed and not isinstance(error, asyncio.IncompleteReadError):
                _log.warning("worker %d is killed, since it says what nobody understands: %s", self.number, error)
        finally:
            await self._bury(process, output, line)

    async def _bury(self, process: subprocess.Popen[bytes], output: asyncio.Task[None], line: socket.socket) -> None:
        self._over = True
        self._cut()
        while self._status is None:
            try:
                self._status = await self._in_thread(process.wait, END_SECONDS)
            except subprocess.TimeoutExpired:
                # The guard waits for what can't be killed.
                _log.error("worker %d does not end: a process of it hangs in the kernel", self.number)
                process.kill()
        await asyncio.wait([output], timeout=END_SECONDS)
        output.cancel()
        (self._writer or line).close()
        if self._call is not None and not self._call.ended.done():
            self._call.ended.set_exception(WorkerLost(self._status, self._call.began, self.killed))
        self._end()

    def _end(self) -> None:
        self._over = True
        self._cut()
        self._ready.set()
        self._on_ended(self)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        for count in itertools.count(1):
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if length > self._max_output + _OVERHEAD:
                raise ValueError(f"a message of {length} bytes")
            body = await reader.readexactly(length)
            await self._take(await asyncio.to_thread(from_worker.decode, body) if length > LARGE else _decode(body))
            if count % TAKEN_AT_ONCE == 0:
                # What is there already is read without a break, and others wait for the loop.
                await asyncio.sleep(0)

    async def _take(self, message: FromWorker) -> None:
        call = self._call
        if isinstance(message, Ready):
            self._ready.set()
        elif call is not None:
            match message:
                case Succeeded() | Failed():
                    if not call.ended.done():
                        call.ended.set_result(message)
                case AskSecret():
                    self._send(await asyncio.to_thread(_secret, call.secrets, message.name))
                case AskSecretNames():
                    self._send(SecretNames(tuple(await asyncio.to_thread(sorted, call.secrets))))
                case PutArtifact() | GetArtifact():
                    answer = await asyncio.to_thread(_artifact, call.keeper, message)
                    if self._writer is not None:
                        self._writer.write(answer)
                case _:
                    _report(call, message)

    def _send(self, message: Message) -> None:
        if self._writer is not None:
            self._writer.write(frame(message))


def _report(call: _Call, message: Begun | Progress | Partial | Log) -> None:
    match message:
        case Begun():
            call.began = True
        case Progress():
            call.sink.progress(message.fraction, None)
        case Partial():
            call.sink.partial(message.text)
        case Log():
            call.sink.log(message.level, message.message, msgspec.json.decode(message.context, type=dict[str, object]))


def _artifact(keeper: ArtifactKeeper, message: PutArtifact | GetArtifact) -> bytes:
    """The answer as it is sent."""
    try:
        if isinstance(message, PutArtifact):
            return frame(ArtifactDone(keeper.put(message.data, message.content_type)))
        return frame(ArtifactDone(data=keeper.get(message.uri)))
    except NodeFailed as error:
        return frame(ArtifactDone(error=error.message, code=error.code, retryable=error.retryable))


def _secret(secrets: SecretSession, name: str) -> Secret:
    try:
        return Secret(secrets[name])
    except SecretMissing as error:
        return Secret(looked=error.looked)
    except SecretUnreadable as error:
        return Secret(reason=error.reason)
    except KeyError:
        return Secret(looked=("the secrets",))
