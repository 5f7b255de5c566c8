"""What a write was about, for the flight recorder: ranges of seqs and single words, never what was in the messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class About(NamedTuple):
    """What a message of the bridge itself says: the seqs from `first` to `last`, in a word."""

    kind: str
    first: int = 0
    last: int = 0
    word: str = ""


class Span(NamedTuple):
    """Messages of one workflow that belong together: `size` is in bytes, the seqs are 0 where there are none."""

    kind: str
    workflow_id: str
    first: int
    last: int
    times: int
    size: int
    word: str = ""


class Moment(NamedTuple):
    """A write to any number of clients, `at` ms since the Unix epoch; their records share it."""

    at: int
    spans: tuple[Span, ...]


class Spanned(Protocol):
    """A message, as far as its span goes."""

    @property
    def data(self) -> bytes:
        """Its bytes."""

    @property
    def workflow_id(self) -> str:
        """The workflow that it is about."""

    @property
    def seq(self) -> int:
        """Its seq, 0 for telemetry."""

    @property
    def about(self) -> About | None:
        """What it says, when the bridge itself made it."""


EVENTS = "events"
TELEMETRY = "telemetry"


def spans_of(messages: Iterable[Spanned]) -> tuple[Span, ...]:
    """The spans of messages that are written together, durable events in order and telemetry last."""
    spans: list[Span] = []
    telemetry: dict[str, list[int]] = {}
    workflow_id, first, last, size = "", 0, 0, 0
    for message in messages:
        seq, about = message.seq, message.about
        if about is None and seq and seq == last + 1 and message.workflow_id == workflow_id:
            last, size = seq, size + len(message.data)
            continue
        if about is None and not seq:
            found = telemetry.setdefault(message.workflow_id, [0, 0])
            found[0] += 1
            found[1] += len(message.data)
            continue
        if last:
            spans.append(Span(EVENTS, workflow_id, first, last, last - first + 1, size))
            last = 0
        if about is not None:
            spans.append(
                Span(about.kind, message.workflow_id, about.first, about.last, 1, len(message.data), about.word)
            )
        else:
            workflow_id, first, last, size = message.workflow_id, seq, seq, len(message.data)
    if last:
        spans.append(Span(EVENTS, workflow_id, first, last, last - first + 1, size))
    spans += [Span(TELEMETRY, name, 0, 0, count, size) for name, (count, size) in telemetry.items()]
    return tuple(spans)
