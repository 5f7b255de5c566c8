"""A program under a guard, with what it writes: fed, read within bounds, and ended with all that it has started."""

import asyncio
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from weftline_executor.guard import guarded
from weftline_executor.nodes.context import Context, Level

MAX_KEPT = 256 * 1024
"""Of each stream, so many bytes of JSON are kept, the last ones."""

MAX_LINES = 10_000
GRACE_SECONDS = 2.0
END_SECONDS = 10.0
_CHUNK = 32 * 1024
_MAX_LINE = 4096
_LINES_AT_ONCE = 100
_PAUSE = 0.002


class Stream:
    """What a program writes to one of its streams: the end is kept, and lines become log lines of `ctx`, if given."""

    def __init__(self, ctx: Context | None, level: Level) -> None:
        self.truncated = False
        self._ctx = ctx
        self._level = level
        self._kept = bytearray()
        self._line = b""
        self._lines = 0

    async def follow(self, pipe: asyncio.StreamReader) -> None:
        """Take all to the end of the pipe, with a pause where it comes fast: other nodes use the same event loop."""
        while chunk := await pipe.read(_CHUNK):
            self._keep(chunk)
            await self._log(chunk)
            if len(chunk) == _CHUNK:
                await asyncio.sleep(_PAUSE)
        await self._log(b"" if self._line.endswith(b"\n") or not self._line else b"\n")

    def text(self) -> str:
        """Give the end of what was written, so much that it has at most `MAX_KEPT` bytes as JSON."""
        text = self._kept.decode(errors="replace")
        while (size := len(msgspec.json.encode(text))) > MAX_KEPT:
            self.truncated = True
            # Characters may take up to six bytes, so this approaches the limit from above.
            text = text[max(1, len(text) * (size - MAX_KEPT) // size) :]
        return text

    def _keep(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > MAX_KEPT:
            self.truncated = True
            del self._kept[:-MAX_KEPT]

    async def _log(self, chunk: bytes) -> None:
        if self._ctx is None or self._lines >= MAX_LINES:
            return
        *lines, self._line = (self._line + chunk).split(b"\n")
        if len(self._line) > _MAX_LINE:
            lines.append(self._line)
            self._line = b""
        for piece in (line[at : at + _MAX_LINE] for line in lines for at in range(0, len(line), _MAX_LINE)):
            text = piece.decode(errors="replace").rstrip()
            if not text:
                continue
            self._lines += 1
            self._ctx.log(text, self._level)
            if self._lines % _LINES_AT_ONCE == 0:
                await asyncio.sleep(_PAUSE)
            if self._lines >= MAX_LINES:
                return


class Program:
    """A program that is run once; cancelled, it gets SIGTERM and 2 seconds before it is killed."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        self._argv = argv
        self._environment = environment
        self._folder = folder
        self._lifeline = -1

    async def run(self, given: bytes, out: Stream, err: Stream) -> int:
        """Run to the end and give the exit code, negative for a signal. Raises OSError, ValueError."""
        process = await self._start()
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("all streams are pipes")
        tasks = [
            asyncio.create_task(_feed(process.stdin, given), name="feed a program"),
            asyncio.create_task(out.follow(process.stdout), name="read a program's output"),
            asyncio.create_task(err.follow(process.stderr), name="read a program's errors"),
        ]
        try:
            await asyncio.gather(*tasks)
            return await process.wait()
        except asyncio.CancelledError:
            # To the guard, who passes it on.
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_SECONDS)
            raise
        finally:
            await self._end(process, tasks)

    async def _start(self) -> Process:
        lifeline, self._lifeline = os.pipe()
        try:
            return await asyncio.create_subprocess_exec(
                *guarded(self._argv, lifeline),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self._folder,
                env=self._environment,
                pass_fds=(lifeline,),
                start_new_session=True,
            )
        except BaseException:
            self._cut()
            raise
        finally:
            os.close(lifeline)

    async def _end(self, process: Process, tasks: Sequence[asyncio.Task[None]]) -> None:
        self._cut()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), END_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _cut(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


async def _feed(pipe: asyncio.StreamWriter, given: bytes) -> None:
    # A program need not read what it is given.
    with suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(given)
        await pipe.drain()
    pipe.close()
