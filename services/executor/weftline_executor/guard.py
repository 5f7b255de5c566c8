"""Runs a program so that it and all that it starts end with whoever asked for it, even if that one is killed.

The guard is a small process between the two. It holds one end of a pipe, the lifeline, whose other end only the asker
has: when that closes, or when the program ends, the guard kills every process that came of the program, and ends as the
program did. SIGTERM and SIGINT are passed on to the program and what it started. The program yields the processor
to others.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import FrameType

NOT_FOUND = 127
NOT_RUNNABLE = 126
NICENESS = 5
"""How much the program yields to whoever asked for it, where they want the same processor."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PASSED_ON = (signal.SIGTERM, signal.SIGINT)
_REVIVED = (signal.SIGPIPE, signal.SIGXFSZ)  # Python ignores them, and a program does not expect that


def guarded(command: Sequence[str], lifeline: int, kept: Sequence[int] = ()) -> list[str]:
    """The command line that runs `command` under a guard, to be started in a session of its own.

    `lifeline` is the descriptor of the pipe's end that is read, `kept` are those that the program is to have besides
    its standard streams; both have to be passed to the process.
    """
    descriptors = ",".join(str(descriptor) for descriptor in kept)
    # Without `site` and the environment, so that it starts in no time and nobody's code runs in it.
    return [sys.executable, "-I", "-S", __file__, str(lifeline), descriptors, *command]


def main(arguments: Sequence[str]) -> None:
    """Runs the command, and ends as it ended."""
    # A signal that comes before there is somebody to pass it on to waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    lifeline = int(arguments[0])
    kept = [int(descriptor) for descriptor in arguments[1].split(",") if descriptor]
    wakeup = _listen_for_signals()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    program = os.fork()
    if program == 0:
        _become(arguments[2:], (lifeline, *wakeup))
    _set_group(program)
    for number in _PASSED_ON:
        signal.signal(number, lambda number, _: _signal_group(program, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    _let_go_of(kept)
    _end_like(_wait(program, lifeline, wakeup[0]))


def _listen_for_signals() -> tuple[int, int]:
    """Gives a pipe that can be read after each signal."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _notice)
    return reader, writer


def _notice(number: int, frame: FrameType | None) -> None:
    """A handler, so that the signal comes through the pipe."""


def _become(command: Sequence[str], closed: Sequence[int]) -> None:
    try:
        _set_group(0)
        os.nice(NICENESS)
        # For the case that the guard itself is killed.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_PASSED_ON, *_REVIVED):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        for descriptor in closed:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execvp(command[0], list(command))  # noqa: S606 - to run it is what this is for
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE)
    finally:
        os._exit(NOT_RUNNABLE)


def _set_group(process: int) -> None:
    # Both sides do it, so that it is done whoever comes first.
    with suppress(OSError):
        os.setpgid(process, process)


def _let_go_of(kept: Sequence[int]) -> None:
    """Closes what only the program is to hold, so that its end is seen at the other side."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    for descriptor in kept:
        os.close(descriptor)


def _wait(program: int, lifeline: int, wakeup: int) -> int:
    """Waits for the program or the lifeline to end, whichever is first; kills the rest and gives the program's status.

    A program that ends by itself in the same moment as the lifeline keeps its status.
    """
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    status = None
    while status is None:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if wakeup in ready:
            os.read(wakeup, 4096)
            status = _reap(program)
        elif lifeline in ready:
            break
    return _end_all(program, status)


def _reap(program: int) -> int | None:
    """Takes note of all who have ended; gives the status of the program if it is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == program:
                found = ended[1]
    return found


def _end_all(program: int, status: int | None) -> int:
    _signal_group(program, signal.SIGKILL)
    while True:
        # Who loses a parent becomes a child of the guard, so that in the end it sees everyone.
        for child in _children():
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
        try:
            process, ended = os.waitpid(-1, 0)
        except ChildProcessError:
            return signal.SIGKILL if status is None else status
        if process == program:
            status = ended


def _children() -> Iterator[int]:
    own = os.getpid()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name in the second field may hold anything, also spaces and brackets.
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == own:
            yield int(name)


def _signal_group(program: int, number: int) -> None:
    with suppress(OSError):
        os.killpg(program, number)


def _prctl(option: int, value: int) -> None:
    """Asks Linux; elsewhere there is no such call, and what a killed guard or a program's orphans leave stays."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _end_like(status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
