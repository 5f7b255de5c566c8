"""The machine that measures: its shape, its cores, its free ports, and where figures and scratch files go."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"

SPARE_FILES = 256
"""What a server or a measurement opens besides its connections."""

BUSY_LOAD = 0.5
"""Load average per core over which somebody else is thought to use the machine."""


def shape() -> dict[str, str | int | float]:
    """The machine as far as it matters to a figure."""
    return {
        "cores": os.cpu_count() or 1,
        "memoryGiB": round(psutil.virtual_memory().total / 2**30),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "node": _node_version(),
        "loadBefore": round(os.getloadavg()[0], 2),
    }


def busy() -> bool:
    """Whether others seem to use the machine, so that figures are to be taken with care."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) > BUSY_LOAD


def room_for_files(count: int) -> None:
    """Has this process, and those that it starts, open so many files and more; raises OSError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise OSError(f"{wanted} files would have to be open at once, and {hard} may be")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def server_core() -> int | None:
    """The core for what is measured; None where there is only one, or no way to choose."""
    return _cores()[0]


def client_core() -> int | None:
    """The core for what measures; None where there is only one, or no way to choose."""
    return _cores()[1]


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Children started in this block are bound to `core`; to none when it is None."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _cores() -> tuple[int | None, int | None]:
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def _node_version() -> str:
    node = shutil.which("node")
    if node is None:
        return "none"
    return subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=10).stdout.strip()
