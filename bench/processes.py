"""Starts and ends the processes of a measurement, and reads what they cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.machine import ROOT, pinned

START_SECONDS = 30.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02
_LOG_TAIL = 2000


class ProcessFailed(Exception):
    """A process of the measurement ended or said nothing; carries the end of its log."""

    def __init__(self, name: str, what: str, log: str) -> None:
        super().__init__(f"{name} {what}" + (f":\n{log}" if log else ""))
        self.name, self.what, self.log = name, what, log


@dataclass(frozen=True, slots=True)
class Child:
    """A running process and where its log goes."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def fail(self, what: str) -> ProcessFailed:
        """The error that tells what went wrong with it."""
        return ProcessFailed(self.name, what, self.log.read_text(errors="replace")[-_LOG_TAIL:])

    def first_line(self) -> dict[str, Any]:
        """The JSON object that it prints first; raises ProcessFailed when it ends instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self.fail("ended before it was ready")
        found: dict[str, Any] = json.loads(line)
        return found

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Polls until `ready`; raises ProcessFailed when it ends first, or at the deadline."""
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.process.poll() is not None:
                raise self.fail(f"ended with {self.process.returncode}")
            if time.monotonic() > deadline:
                raise self.fail(f"was not ready within {START_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    folder: Path,
    *,
    core: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Runs a command bound to `core` until the block ends; it gets SIGTERM, and after a deadline SIGKILL.

    It gets SIGTERM as well when the measurement is killed, where the system tells a process of that (see `setpriv`).
    `settings` are added to an environment without Weftline's own variables. The log is in `folder`.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEFTLINE_")}
    log = folder / f"{name}.log"
    with log.open("w") as errors, pinned(core):
        process = subprocess.Popen(
            [*_told_of_our_end(), *command],
            cwd=ROOT,
            env=environment | dict(settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield Child(name, process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _told_of_our_end() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def run_tool(
    command: Sequence[str], request: Mapping[str, Any], *, core: int | None = None, seconds: float = 600.0
) -> dict[str, Any]:
    """Runs a program that reads a JSON object and prints one as its last line; returns that.

    Raises ProcessFailed when it fails or takes longer than `seconds`.
    """
    name = " ".join(command[-2:])
    try:
        with pinned(core):
            done = subprocess.run(
                command,
                cwd=ROOT,
                input=json.dumps(request),
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(name, f"took more than {seconds:.0f} s", "") from None
    if done.returncode != 0:
        raise ProcessFailed(name, f"ended with {done.returncode}", done.stderr[-_LOG_TAIL:])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def module(name: str) -> list[str]:
    """The command that runs a module of the project."""
    return [sys.executable, "-m", name]


class Cost:
    """What a process has used so far, read from outside."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def cpu(self) -> float:
        """CPU time of all its threads, in seconds."""
        times = self._process.cpu_times()
        return times.user + times.system

    def rss(self) -> int:
        """Memory that is resident, in bytes."""
        return int(self._process.memory_info().rss)

    def peak_rss(self) -> int:
        """The most memory that was ever resident, in bytes (what is resident now, where the system does not tell)."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return self.rss()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
