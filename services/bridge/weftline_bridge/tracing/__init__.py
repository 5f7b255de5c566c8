"""Traces, where they are asked for: each command of a client is a span, in the client's trace if it names one."""

from __future__ import annotations

from typing import Protocol


class CommandSpan(Protocol):
    """A command that is being carried out."""

    @property
    def traceparent(self) -> str:
        """The span's place in its trace, for whoever is asked to carry the command out."""

    def end(self, outcome: str, code: str = "") -> None:
        """The command is answered: `accepted`, or with the `code` of what went wrong."""


class Tracer(Protocol):
    """Makes spans. It never waits and never raises: what can't be sent is dropped."""

    def begin(self, kind: str, workflow_id: str, command_id: str, traceparent: str) -> CommandSpan:
        """Begin the span of a command; `traceparent` is what came with it, checked, or empty."""

    async def close(self, seconds: float) -> None:
        """Send what was made, for at most so long, and take nothing more."""
