"""The bounds on what an attempt in a worker process may take: memory, computing time, and no core dumps."""

import os
import resource
import sys
from pathlib import Path

_PAGE = resource.getpagesize()
_ENDLESS = resource.RLIM_INFINITY


def address_space() -> int:
    """Give the bytes that this process has mapped; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def bound_memory(more: int) -> None:
    """Let this process map so many bytes more than it has, or with 0 as many as it wants.

    What is over that fails with `MemoryError`. Only Linux holds a process to it.
    """
    wanted = address_space() + more if more and sys.platform == "linux" else _ENDLESS
    _set_soft(resource.RLIMIT_AS, wanted)


def bound_cpu(more: int) -> None:
    """Let this process compute for so many seconds more, or with 0 without end; over that the system kills it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    # The system counts whole seconds, so what has begun is not counted against the attempt.
    _set_soft(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + more if more else _ENDLESS)


def forbid_core_dumps() -> None:
    """Let a crash leave no file behind that holds what was in memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def has_children() -> bool:
    """Say whether this process has started others that are still there."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _set_soft(kind: int, wanted: int) -> None:
    # Only the soft bound, since the hard one could not be raised again for the next attempt.
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (wanted if hard == _ENDLESS else min(wanted, hard) if wanted != _ENDLESS else hard, hard))
