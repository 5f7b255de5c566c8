"""What all adapters do with batches: cutting them to a cursor, and reading what they change of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from weftline_executor.model.events import (
    Event,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
    RunStopping,
)
from weftline_executor.model.records import Batch
from weftline_executor.model.states import RunState

MAX_PIECE = 16 << 20
"""How many bytes of events are kept in one piece, unless a single event is larger."""

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class RunChange:
    """What a batch changes of its run's record: the state it ends in and, if it ended, when."""

    state: RunState
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Events that are kept together, and the JSON array of them."""

    events: tuple[Event, ...]
    body: bytes


def pieces(events: tuple[Event, ...], limit: int = MAX_PIECE) -> list[Piece]:
    """Cuts events, in their order, into as few pieces of at most `limit` bytes as they fit in one after the other.

    Raises ValueError, TypeError or OverflowError when an event is not JSON.
    """
    body = _encoder.encode(events)
    if len(body) <= limit or len(events) == 1:
        return [Piece(events, body)]
    found: list[Piece] = []
    encoded: list[bytes] = []
    begin, size = 0, 2
    for at, event in enumerate(events):
        one = _encoder.encode(event)
        if encoded and size + len(one) > limit:
            found.append(_piece(events[begin:at], encoded))
            begin, size, encoded = at, 2, []
        encoded.append(one)
        size += len(one) + 1
    return [*found, _piece(events[begin:], encoded)]


def _piece(events: tuple[Event, ...], encoded: list[bytes]) -> Piece:
    return Piece(events, b"[" + b",".join(encoded) + b"]")


def cut(batch: Batch, after_seq: int) -> Batch:
    """The batch without the events up to `after_seq`."""
    if batch.first_seq > after_seq:
        return batch
    return msgspec.structs.replace(batch, events=batch.events[after_seq + 1 - batch.first_seq :])


def started(batch: Batch) -> RunStarted | None:
    """The start of the run, if the batch begins with it."""
    first = batch.events[0]
    return first if isinstance(first, RunStarted) else None


def run_change(batch: Batch) -> RunChange | None:
    """The last change of the run's state in the batch; None when it has none."""
    for event in reversed(batch.events):
        change = _CHANGES.get(type(event))
        if change is not None:
            return change(event)
    return None


# By the very type, since this looks at every event that is written.
_CHANGES: dict[type[Event], Callable[[Any], RunChange]] = {
    RunPaused: lambda event: RunChange(event.state, None),
    RunResumed: lambda event: RunChange(event.state, None),
    RunStopping: lambda event: RunChange(event.state, None),
    RunCompleted: lambda event: RunChange(event.status, event.at),
    RunFailed: lambda event: RunChange(RunState.ERROR, event.at),
}
