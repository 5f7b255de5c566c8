"""Runs nginx with nchan for a measurement: on loopback, below a scratch folder, with one worker."""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from string import Template

import psutil

from bench.machine import free_ports
from bench.peers.install import HERE, PeersMissing, nchan
from bench.processes import Child, running

CONFIGURATION = HERE / "nginx.conf.in"
FIXED_FOLDER = Path("/var/lib/nginx")
"""nchan has nginx make the folder for bodies that was built in, whatever is configured. Nothing is ever put there."""


@contextmanager
def running_nchan(folder: Path, *, core: int | None) -> Iterator[tuple[int, int]]:
    """Gives the process id of the worker and the port; raises PeersMissing and ProcessFailed."""
    found = nchan()
    (port,) = free_ports(1)
    configuration = folder / "nginx.conf"
    settings = {"module": str(found.module), "folder": str(folder), "port": str(port), "user": _user()}
    configuration.write_text(Template(CONFIGURATION.read_text()).substitute(settings))
    command = [str(found.program), "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
    with ExitStack() as stack:
        with _fixed_folder():
            child = stack.enter_context(running("nginx", command, folder, core=core))
            child.wait_until(lambda: len(_workers(child)) == 1 and _listens(port))
        (worker,) = _workers(child)
        yield worker, port


def _user() -> str:
    """As root nginx gives the worker to somebody who may do nothing; else there is nothing to give."""
    if os.geteuid() != 0:
        return ""
    nobody = pwd.getpwnam("nobody")
    return f"user nobody {grp.getgrgid(nobody.pw_gid).gr_name};"


@contextmanager
def _fixed_folder() -> Iterator[None]:
    """The folder is there in the block, and gone after it unless it was there before."""
    if FIXED_FOLDER.exists():
        yield
        return
    try:
        FIXED_FOLDER.mkdir()
    except OSError as error:
        raise PeersMissing(f"nchan needs {FIXED_FOLDER}: {error}") from error
    try:
        yield
    finally:
        for made in (FIXED_FOLDER / "body", FIXED_FOLDER):
            with suppress(OSError):
                made.rmdir()


def _workers(child: Child) -> list[int]:
    try:
        return [process.pid for process in psutil.Process(child.pid).children()]
    except psutil.NoSuchProcess:
        return []


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
