"""One thing that happened, and how neighbours are merged so that much fits into little."""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern
from typing import Final, NamedTuple

from weftline_bridge.frames import EVENTS, TELEMETRY, Moment, Span


class Kind:
    """The words for what happened; those of messages are the words of `protocol.minting`."""

    OPENED: Final = "opened"
    CLOSED: Final = "closed"
    EVENTS: Final = EVENTS
    TELEMETRY: Final = TELEMETRY
    SUBSCRIBED: Final = "subscribed"
    UNSUBSCRIBED: Final = "unsubscribed"
    SNAPSHOT: Final = "snapshot"
    GAP: Final = "gap"
    COMMAND: Final = "command"
    MODE: Final = "mode"
    CONFLATED: Final = "conflated"
    CUT: Final = "cut"
    RTT: Final = "rtt"
    RECEIVED: Final = "received"
    STATE: Final = "state"


class Record(NamedTuple):
    """Something that happened between `at` and `until` (ms since the Unix epoch), `times` times.

    `first` and `last` are seqs; of a round trip they are the shortest and the longest in microseconds. `size` is in
    bytes, and `word` says how it went.
    """

    kind: str
    at: int
    until: int
    workflow_id: str = ""
    first: int = 0
    last: int = 0
    times: int = 1
    size: int = 0
    word: str = ""


WINDOW_MS: Final = 1000
"""For how long ranges that follow one another are one record while it is new."""

RANGED: Final = frozenset({Kind.EVENTS, Kind.RECEIVED})
COUNTED: Final = frozenset({Kind.TELEMETRY, Kind.CONFLATED, Kind.CUT, Kind.RTT})
STANDING: Final = frozenset({Kind.OPENED, Kind.SUBSCRIBED, Kind.UNSUBSCRIBED})
"""What still matters when all around it is forgotten: whether a connection was subscribed."""


def join(earlier: Record, later: Record, window_ms: int | None) -> Record | None:
    """Both as one record, None when they do not belong together.

    Ranges do when one follows the other, and the whole lasts no longer than `window_ms`, if that is given.
    """
    if earlier.kind in COUNTED:
        first, last = earlier.first, later.last
        if earlier.kind == Kind.RTT:
            first, last = min(first, later.first), max(earlier.last, last)
    elif earlier.kind in RANGED and later.first == earlier.last + 1:
        if window_ms is not None and later.until - earlier.at > window_ms:
            return None
        first, last = earlier.first, later.last
    else:
        return None
    return Record(
        earlier.kind,
        earlier.at,
        later.until,
        earlier.workflow_id,
        first,
        last,
        earlier.times + later.times,
        earlier.size + later.size,
        earlier.word,
    )


def fold(moments: Iterable[Moment]) -> list[Record]:
    """The records of writes, those merged that follow one another within a window: this is most of all writes."""
    records: list[Record] = []
    begun: Span | None = None
    at = until = last = times = size = 0
    for moment, spans in moments:
        for span in spans:
            if (
                begun is not None
                and span.first == last + 1
                and span.kind in RANGED
                and begun.kind == span.kind
                and begun.workflow_id == span.workflow_id
                and moment - at <= WINDOW_MS
            ):
                until, last = moment, span.last
                times += span.times
                size += span.size
                continue
            if begun is not None:
                name = intern(begun.workflow_id)
                records.append(Record(begun.kind, at, until, name, begun.first, last, times, size, begun.word))
            begun, at, until, last, times, size = span, moment, moment, span.last, span.times, span.size
    if begun is not None:
        name = intern(begun.workflow_id)
        records.append(Record(begun.kind, at, until, name, begun.first, last, times, size, begun.word))
    return records


def compact(records: Iterable[Record]) -> list[Record]:
    """Merge all ranges that follow one another, however long they last, unless something else lies between them."""
    kept: list[Record] = []
    places: dict[tuple[str, str], int] = {}
    for record in records:
        key = (record.kind, record.workflow_id)
        place = places.get(key)
        merged = None if place is None else join(kept[place], record, None)
        if merged is not None and place is not None:
            kept[place] = merged
            continue
        if record.kind not in RANGED and record.kind not in COUNTED:
            for ranged in RANGED:
                places.pop((ranged, record.workflow_id), None)
        places[key] = len(kept)
        kept.append(record)
    return kept
