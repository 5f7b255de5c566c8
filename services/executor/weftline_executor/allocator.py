"""Has the C library give large buffers back to the system as soon as they are let go.

A large definition is held several times for a moment: as a message, as text, as a row. By default glibc takes the first
of them as a sign that more will follow, and keeps what they took among what is still in use.
"""

from __future__ import annotations

import ctypes
import sys

LARGE_BUFFER = 512 * 1024
ARENAS = 2
"""Most is done in two threads; each further arena keeps what its own thread once took."""

# From malloc.h of glibc; see mallopt(3).
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def give_back_large_buffers() -> bool:
    """Asks for it; gives whether the C library is one that can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BUFFER) and mallopt(_M_ARENA_MAX, ARENAS))
