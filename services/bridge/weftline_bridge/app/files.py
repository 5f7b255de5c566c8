"""Lets the process have as many files open as connections are allowed: each takes one, and systems often give 1,024."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)

SPARE_FILES = 256
"""What is open besides the connections of clients: those to the executor, logs, artifacts that are read."""


def allow_files(connections: int) -> int:
    """Raise the limit of open files, as far as the system lets it, to what so many connections take; the limit then.

    Logs a warning where that is too low, since clients could then not connect although the settings let them.
    """
    wanted = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):
        limit = soft
    if limit < wanted:
        _log.warning(
            "%d connections are allowed, and only %d files may be open: raise the limit (ulimit -n) to %d",
            *(connections, limit, wanted),
        )
    return limit
