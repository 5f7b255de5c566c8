"""Becomes another program that ends with its parent: `python -m weftline_cli.stack.leash PARENT_PID COMMAND…`.

On Linux the kernel kills the program when the process that started it ends in any way, even by `kill -9`. Elsewhere
there is no such bond, and the program outlives a parent that is killed.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def leashed(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` on a leash that this process holds."""
    return [sys.executable, "-m", "weftline_cli.stack.leash", str(os.getpid()), *command]


def main(arguments: Sequence[str]) -> None:
    """Tie this process to its parent, then become the command; ends at once when the parent is gone already."""
    parent, *command = arguments
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the command is ours, without a shell


if __name__ == "__main__":
    main(sys.argv[1:])
