"""What happened lately to one connection or one workflow, in the order in which it happened, within a bound."""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern
from typing import Final

from weftline_bridge.frames import Moment
from weftline_bridge.recorder.records import COUNTED, STANDING, WINDOW_MS, Record, compact, fold, join

MAX_RECORDS: Final = 80
"""With them a trace takes at most 32 KiB."""

_MAX_LOOSE = 16
_MAX_LOOSE_SPANS = 4
_LOOK_BACK = 4


class Trace:
    """The newest records. All that happened after `complete_since` (ms since the Unix epoch) is in them.

    `append` is for the path that every event takes: what it is given is looked at when some of it has come together.
    """

    __slots__ = ("_loose", "_records", "complete_since")

    def __init__(self, since: int) -> None:
        self.complete_since = since
        self._records: list[Record] = []
        self._loose: list[Moment] = []

    def append(self, moment: Moment) -> None:
        """Record a write."""
        loose = self._loose
        loose.append(moment)
        if len(loose) >= _MAX_LOOSE or len(moment.spans) > _MAX_LOOSE_SPANS:
            self._fold()

    def add(self, records: Iterable[Record]) -> None:
        """Record what was made into records already, as it was the same for many."""
        self._fold()
        for record in records:
            self._put(record)

    def note(
        self,
        at: int,
        kind: str,
        workflow_id: str = "",
        *,
        first: int = 0,
        last: int = 0,
        times: int = 1,
        word: str = "",
    ) -> None:
        """Record something else than a write."""
        self._fold()
        self._put(Record(kind, at, at, intern(workflow_id), first, last, times, 0, word))

    def records(self) -> tuple[Record, ...]:
        """All that is kept, oldest first."""
        self._fold()
        return tuple(self._records)

    def _fold(self) -> None:
        if self._loose:
            loose, self._loose = self._loose, []
            for record in fold(loose):
                self._put(record)

    def _put(self, record: Record) -> None:
        records = self._records
        for place in range(len(records) - 1, max(-1, len(records) - 1 - _LOOK_BACK), -1):
            earlier = records[place]
            if earlier.workflow_id != record.workflow_id:
                continue
            if earlier.kind == record.kind:
                merged = join(earlier, record, WINDOW_MS)
                if merged is not None:
                    records[place] = merged
                    return
                break
            if earlier.kind not in COUNTED and record.kind not in COUNTED:
                break
        records.append(record)
        if len(records) > MAX_RECORDS:
            self._shrink()

    def _shrink(self) -> None:
        """Make room: first by merging what is older, and if that is not enough by forgetting the oldest."""
        half = MAX_RECORDS // 2
        records = compact(self._records[:half]) + self._records[half:]
        if len(records) > MAX_RECORDS * 3 // 4:
            oldest, records = records[: MAX_RECORDS // 4], records[MAX_RECORDS // 4 :]
            forgotten = [record.until for record in oldest if record.kind not in COUNTED | STANDING]
            standing: dict[tuple[bool, str], Record] = {
                (record.kind in STANDING, record.workflow_id): record for record in oldest if record.kind in STANDING
            }
            kept = list(standing.values())[-(MAX_RECORDS // 8) :]
            if len(kept) < len(standing):
                forgotten.append(max(record.until for record in oldest))
            self.complete_since = max([self.complete_since, *forgotten])
            records = kept + records
        self._records = records
