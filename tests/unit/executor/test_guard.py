"""Facts about the guard: a program runs as it would without, and ends with whoever asked for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from weftline_executor.guard import NICENESS, NOT_FOUND, NOT_RUNNABLE, guarded

SECONDS = 20.0
ENDLESS = "import time; time.sleep(600)"
FAMILY = f"""
import os, subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", {ENDLESS!r}], start_new_session=own) for own in (False, True)]
print(*(child.pid for child in children), os.getpid(), flush=True)
"""


class Started:
    """A program under a guard, and the end of the lifeline that keeps it alive."""

    def __init__(self, program: list[str]) -> None:
        lifeline, self._lifeline = os.pipe()
        self.process = subprocess.Popen(
            guarded(program, lifeline),
            pass_fds=(lifeline,),
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(lifeline)

    def line(self) -> str:
        """The next line that the program prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def cut(self) -> None:
        """Does what the end of this process would do."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def ends(self) -> tuple[int, str, str]:
        """Waits for the end: status, standard output, standard error."""
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err


@contextmanager
def start(*program: str) -> Iterator[Started]:
    """A program that is gone when the block ends."""
    started = Started(list(program))
    try:
        yield started
    finally:
        started.cut()
        started.process.communicate(timeout=SECONDS)


def python(code: str) -> tuple[str, ...]:
    """The command line that runs some code."""
    return (sys.executable, "-c", code)


def alive(pids: list[int]) -> list[int]:
    """Those of some processes that do not end."""
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=SECONDS)
    return [process.pid for process in left]


def test_a_program_runs_as_it_would_without() -> None:
    with start(*python("import sys; print(sys.argv[1:]); print('no', file=sys.stderr); sys.exit(3)"), "a b") as started:
        assert started.ends() == (3, "['a b']\n", "no\n")


def test_its_end_by_a_signal_is_told() -> None:
    with start(*python("import os; os.abort()")) as started:
        assert started.ends()[0] == -signal.SIGABRT


@pytest.mark.parametrize(("program", "status"), [("/no/such/program", NOT_FOUND), (os.devnull, NOT_RUNNABLE)])
def test_a_program_that_cannot_be_run_says_why(program: str, status: int) -> None:
    with start(program) as started:
        found, _, said = started.ends()
    assert (found, said.startswith(f"{program}: ")) == (status, True)


def test_everything_ends_when_the_lifeline_does() -> None:
    with start(*python(FAMILY + ENDLESS)) as started:
        pids = [int(pid) for pid in started.line().split()]
        assert len(pids) == 3
        started.cut()
        assert started.ends()[0] == -signal.SIGKILL
    assert alive(pids) == []


def test_what_a_program_leaves_behind_ends_with_it() -> None:
    with start(*python(FAMILY)) as started:
        status, out, _ = started.ends()
    assert status == 0
    assert alive([int(pid) for pid in out.split()]) == []


def test_a_program_that_hears_no_signal_ends_too() -> None:
    deaf = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 13, 15)]; print(1, flush=True);" + ENDLESS
    with start(*python(deaf)) as started:
        started.line()
        started.process.terminate()
        started.cut()
        assert started.ends()[0] == -signal.SIGKILL


def test_a_request_to_end_reaches_the_program() -> None:
    polite = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print(1, flush=True);" + ENDLESS
    )
    with start(*python(polite)) as started:
        started.line()
        started.process.terminate()
        assert started.ends()[0] == 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_program_ends_when_its_guard_is_killed() -> None:
    with start(*python("import os; print(os.getpid(), flush=True);" + ENDLESS)) as started:
        program = int(started.line())
        started.process.kill()
        assert alive([program]) == []


def test_a_guard_does_nothing_while_it_waits() -> None:
    with start(*python("print(1, flush=True);" + ENDLESS)) as started:
        started.line()
        guard = psutil.Process(started.process.pid)
        before = sum(guard.cpu_times()[:2])
        deadline = time.monotonic() + 0.3
        while time.monotonic() < deadline:
            guard.status()
        assert sum(guard.cpu_times()[:2]) - before <= 0.05


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    guard = guarded([], 0)[3]
    loading = f"import runpy; runpy.run_path({guard!r}, run_name='guard')"
    subprocess.run([sys.executable, "-I", "-S", "-c", loading], check=True, timeout=SECONDS)


def test_the_program_yields_the_processor_to_others() -> None:
    with start(sys.executable, "-c", "import os; print(os.nice(0))") as started:
        _, out, _ = started.ends()
    assert int(out) == min(19, os.nice(0) + NICENESS)
