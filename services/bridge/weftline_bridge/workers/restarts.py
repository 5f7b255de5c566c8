"""Decides when a worker that ended is started again, and when that has no use any more."""

from __future__ import annotations

from typing import Final

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
STEADY_SECONDS: Final = 30.0
"""A worker that lived so long did not end because of how it began."""

MAX_FAILED_STARTS: Final = 5


class Restarts:
    """The history of one worker."""

    def __init__(self) -> None:
        self._quick = 0
        self._failed = 0

    def ended(self, lived: float, *, served: bool) -> float | None:
        """How long to wait before the next start, in seconds; None when there should be none.

        `lived` is in seconds, `served` says whether it came to serve clients. The end of a steady worker costs no
        pause, each quick one after another twice the pause; after five starts in a row that led to nothing it is over.
        """
        self._failed = 0 if served else self._failed + 1
        if self._failed >= MAX_FAILED_STARTS:
            return None
        if served and lived >= STEADY_SECONDS:
            self._quick = 0
            return 0.0
        self._quick += 1
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._quick - 1, 30))
