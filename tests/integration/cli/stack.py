"""Runs `weftline up` on free ports and a directory of its own."""

import asyncio
import itertools
import json
import socket
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.cli.process import DEADLINE_S, Result, finish, start

OPTIONS = ("--executor-listen", "--executor-metrics", "--bridge-listen", "--bridge-metrics")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one stack is: its working directory and the four addresses of its services."""

    cwd: Path
    addresses: tuple[str, ...]

    @property
    def options(self) -> list[str]:
        """The options that put a stack there."""
        pairs = zip(OPTIONS, self.addresses, strict=True)
        return [word for pair in pairs for word in pair]

    async def run(self, *arguments: str, **variables: str) -> Result:
        """Run `weftline up` to its end."""
        return await finish(await self.start(*arguments, **variables))

    async def start(self, *arguments: str, **variables: str) -> Process:
        """Start `weftline up`."""
        return await start("up", *self.options, *arguments, cwd=self.cwd, **variables)

    @asynccontextmanager
    async def up(self, *arguments: str, **variables: str) -> AsyncIterator[Process]:
        """Start `weftline up`; it is killed at the end when it still runs."""
        process = await self.start(*arguments, **variables)
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


def free_place(cwd: Path) -> Place:
    """A place whose four ports nobody uses now."""
    with ExitStack() as opened:
        probes = [opened.enter_context(socket.socket()) for _ in OPTIONS]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return Place(cwd, tuple(f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes))


def flow(folder: Path, name: str, *nodes: dict[str, object]) -> str:
    """A file with a workflow of these nodes, each after the one before."""
    edges = [{"source": one["id"], "target": other["id"]} for one, other in itertools.pairwise(nodes)]
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"nodes": nodes, "edges": edges, "config": {}}))
    return str(file)


def services_of(process: Process) -> dict[str, psutil.Process]:
    """The services that a running `weftline up` has started, by name."""
    children = psutil.Process(process.pid).children()
    return {child.cmdline()[-1].removeprefix("weftline_"): child for child in children}


async def gone(processes: list[psutil.Process]) -> bool:
    """Whether the processes end soon; one that nobody has waited for counts as ended."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=DEADLINE_S)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
