"""One service as a child process: started on a leash, listened to, and ended within a deadline."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from weftline_cli.stack.leash import leashed
from weftline_cli.stack.logs import ChildLog, LineCutter, is_serious

DRAIN_S: Final = 2.0
CHUNK_BYTES: Final = 64 * 1024


class Child:
    """A Python module that runs as a process of its own, called `name` in messages.

    Everything it writes goes to `log_file`; lines of level warning and above also go to `echo`, with its name.
    """

    def __init__(
        self, name: str, module: str, environment: Mapping[str, str], log_file: Path, echo: Callable[[str, str], None]
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._module = module
        self._environment = environment
        self._echo = echo
        self._log = ChildLog(log_file)
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def tail(self) -> list[str]:
        """The last lines that it wrote."""
        return list(self._log.tail)

    async def start(self) -> None:
        """Start the process, in a session of its own so that a Ctrl-C at the terminal reaches only its parent."""
        self._process = await asyncio.create_subprocess_exec(
            *leashed([sys.executable, "-m", self._module]),
            env=dict(self._environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process), name=f"read-{self.name}")

    async def ended(self) -> int:
        """Wait until the process has ended and all it wrote is read; return its exit code, negative for a signal."""
        if self._process is None or self._reading is None:
            raise RuntimeError(f"{self.name} was not started")
        code = await self._process.wait()
        await asyncio.wait([self._reading], timeout=DRAIN_S)
        return code

    async def stop(self, deadline_s: float) -> bool:
        """End the process: SIGTERM, and SIGKILL after `deadline_s` seconds; return whether it ended by itself."""
        if self._process is None or self._reading is None:
            return True
        graceful = True
        try:
            if self._process.returncode is None:
                self._process.terminate()
                async with asyncio.timeout(deadline_s):
                    await self._process.wait()
        except ProcessLookupError:
            pass
        except TimeoutError:
            graceful = False
        finally:
            self.kill()
            await self.ended()
            self._reading.cancel()
            self._log.close()
        return graceful

    def kill(self) -> None:
        """Kill the process when it is still there."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _read(self, process: Process) -> None:
        if process.stdout is None:
            raise RuntimeError("the child's output is a pipe")
        cutter = LineCutter()
        while chunk := await process.stdout.read(CHUNK_BYTES):
            self._keep(cutter.feed(chunk))
        self._keep(cutter.end())

    def _keep(self, lines: list[str]) -> None:
        for line in lines:
            self._log.write(line)
            if is_serious(line):
                self._echo(self.name, line)
