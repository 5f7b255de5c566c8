"""A span that has ended, and who takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

from weftline_executor.tracing.context import TraceContext

Value = str | int | bool
Kind = Literal["internal", "server"]


class SpanEvent(Struct, frozen=True):
    """Something that happened within a span, `at` ms since the Unix epoch."""

    name: str
    at: int
    attributes: Mapping[str, Value]


class Span(Struct, frozen=True):
    """Something that was done from `begun` to `ended`, in ms since the Unix epoch.

    `parent` is the span that it is a part of, None for the first of a trace, and `links` are spans elsewhere that it
    has to do with. What `failed` says why; that is empty for what did not.
    """

    name: str
    context: TraceContext
    parent: TraceContext | None
    begun: int
    ended: int
    attributes: Mapping[str, Value]
    kind: Kind = "internal"
    events: tuple[SpanEvent, ...] = ()
    links: tuple[TraceContext, ...] = ()
    failed: str = ""


class SpanSink(Protocol):
    """Where spans go. Giving one never waits and never raises: what can't be taken is dropped."""

    def export(self, span: Span) -> None:
        """Takes a span."""

    async def close(self, seconds: float) -> None:
        """Sends what was taken, for at most so long, and takes nothing more."""
