"""Ends a worker with its supervisor, even if that is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie(supervisor: int) -> bool:
    """Have the kernel kill this process when the one that started it ends; whether that one, `supervisor`, still runs.

    Only Linux does it. Elsewhere a worker ends by itself once its channel to the supervisor is closed.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == supervisor
