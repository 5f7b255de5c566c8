"""Runs `weftline` as a process and collects what it says."""

import asyncio
import json
import os
import pty
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """How a process ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The objects of its NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]


async def start(*arguments: str, executor: str = "", cwd: Path | None = None, **variables: str) -> Process:
    """Start `weftline` with these arguments, told by the environment where the executor is."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "weftline_cli", *arguments,
        stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(executor, variables), cwd=cwd,
    )  # fmt: skip


async def weftline(
    *arguments: str, executor: str = "", stdin: bytes = b"", cwd: Path | None = None, **variables: str
) -> Result:
    """Run `weftline` to its end."""
    return await finish(await start(*arguments, executor=executor, cwd=cwd, **variables), stdin)


async def finish(process: Process, stdin: bytes = b"") -> Result:
    """Wait until a process has ended; it is killed when that takes too long."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Result(process.returncode or 0, out.decode(), err.decode())


async def read_until(process: Process, wanted: str) -> str:
    """Read the standard output line by line up to the one that contains the words; return all of it."""
    if process.stdout is None:
        raise ValueError("its output is not read")
    seen = ""
    async with asyncio.timeout(DEADLINE_S):
        while wanted not in seen:
            line = (await process.stdout.readline()).decode()
            if not line:
                raise AssertionError(f"it ended before saying {wanted!r}: {seen}")
            seen += line
    return seen


def environment(executor: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: this one's, without what could change how it prints, plus the given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("WEFTLINE", "COLUMNS"))}
    given = {"WEFTLINE_EXECUTOR": executor} if executor else {}
    return {**inherited, "NO_COLOR": "1", **given, **variables}


class Terminal:
    """The other end of the terminal that a process draws on."""

    def __init__(self, master: int) -> None:
        self._master = master

    async def read(self, until: str = "") -> str:
        """Read what is drawn until the words appear, or until the process has closed the terminal."""
        seen = b""
        async with asyncio.timeout(DEADLINE_S):
            while not until or until.encode() not in seen:
                try:
                    seen += await asyncio.to_thread(os.read, self._master, 65536)
                except OSError:
                    break
        return seen.decode(errors="replace")


@asynccontextmanager
async def on_terminal(*arguments: str, executor: str) -> AsyncIterator[tuple[Process, Terminal]]:
    """Run `weftline` on a terminal 120 columns wide; it is killed at the end when it still runs."""
    master, slave = pty.openpty()
    variables = environment(executor, {"TERM": "xterm-256color", "COLUMNS": "120"})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "weftline_cli", *arguments, stdin=slave, stdout=slave, stderr=slave, env=variables
    )
    os.close(slave)
    try:
        yield process, Terminal(master)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(master)
