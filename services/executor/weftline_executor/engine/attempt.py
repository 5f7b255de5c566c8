"""One execution of a node, and the line from the node's code back to its run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from weftline_executor.nodes import SecretSession

PROGRESS_INTERVAL = 0.1
MAX_PARTIAL = 4096
MAX_LOGS = 10_000
MAX_MESSAGE = 8192


class Attempt:
    """An attempt of the node with this index; once `done`, its outcome is decided and nothing it says counts.

    `progress` (0 to 1, None until it is reported) and `partial` (what it shows so far, as JSON text, or empty) are the
    newest that was told. `already_ms` is what attempts took that were cut off by the end of the process. While it is
    `held` its code does not run yet, because its start is not durable, or because it `loads` what it reads.
    `ended` is told how it ended, or None when it was broken off to begin anew.
    An attempt that is `recovered` follows one that was cut off, and one that was `moved` is itself followed by another.
    Where all that an attempt waits for is paused, it is `resting`; one that is `slotless` takes no slot.
    """

    __slots__ = (
        "already_ms",
        "begun",
        "cancel",
        "cancelled",
        "done",
        "ended",
        "heard",
        "held",
        "index",
        "loads",
        "logs",
        "moved",
        "node_id",
        "number",
        "partial",
        "progress",
        "recovered",
        "resting",
        "secrets",
        "slotless",
    )

    def __init__(self, index: int, node_id: str, number: int) -> None:
        self.index = index
        self.node_id = node_id
        self.number = number
        self.begun = time.monotonic_ns()
        self.already_ms = 0
        self.cancel: Callable[[], None] | None = None
        self.cancelled = False
        self.done = False
        self.ended: Callable[[object], None] = _ignore
        self.held = False
        self.loads = False
        self.progress: float | None = None
        self.partial = b""
        self.logs = 0
        self.heard = time.monotonic()
        self.secrets: SecretSession | None = None
        self.recovered = False
        self.moved = False
        self.resting = False
        self.slotless = False

    def hear(self) -> None:
        """The attempt gave a sign of life."""
        self.heard = time.monotonic()

    def elapsed_ms(self) -> int:
        """How long the attempt has run."""
        return (time.monotonic_ns() - self.begun) // 1_000_000


def _ignore(_result: object) -> None:
    """Nobody asks how an attempt ended."""


class Reporter(Protocol):
    """Where the reports of an attempt go; called in the engine's event loop only."""

    def report_progress(self, attempt: Attempt) -> None:
        """The attempt's `progress` or its `partial` is another than before."""

    def report_log(self, attempt: Attempt, level: str, message: str, context: Mapping[str, object]) -> None:
        """The attempt wrote a log line."""


class AttemptSink:
    """Carries what a node's code reports to its run, from whatever thread it runs in.

    Progress is let through when it grew, and that and the text so far at most ten times a second, the newest in the
    end; of log lines the first 10,000 of an attempt.
    """

    __slots__ = ("_attempt", "_loop", "_partial", "_progress", "_reporter", "_tells_later", "_thread", "_told_at")

    def __init__(self, attempt: Attempt, reporter: Reporter, loop: asyncio.AbstractEventLoop) -> None:
        self._attempt = attempt
        self._reporter = reporter
        self._loop = loop
        self._thread = threading.get_ident()
        self._progress = 0.0
        self._partial: str | None = None
        self._told_at = 0.0
        self._tells_later = False

    def progress(self, fraction: float, message: str | None) -> None:
        """The attempt is `fraction` (0 to 1) far; `message` becomes an info log line."""
        if message:
            self.log("info", message, {})
        if fraction > self._progress:
            self._progress = fraction
            self._tell_soon(fraction == 1.0)

    def partial(self, text: str) -> None:
        """The attempt has made this text so far."""
        self._attempt.hear()
        self._partial = text
        self._tell_soon()

    def log(self, level: str, message: str, context: Mapping[str, object]) -> None:
        """The attempt has something to say."""
        attempt = self._attempt
        attempt.logs += 1
        if attempt.logs > MAX_LOGS:
            return
        if attempt.logs == MAX_LOGS:
            level, message, context = "warn", f"no more log lines of this attempt are kept after {MAX_LOGS}", {}
        text, kept = message, dict(context)
        if attempt.secrets is not None and attempt.secrets.used:
            text = attempt.secrets.scrub(str(message))
            kept = {key: _scrubbed(attempt.secrets, value) for key, value in kept.items()}
        self._call(lambda: self._reporter.report_log(attempt, level, text, kept))

    def cancelled(self) -> bool:
        """Whether the attempt should end early."""
        return self._attempt.cancelled

    def _tell_soon(self, at_once: bool = False) -> None:
        wait = self._told_at + PROGRESS_INTERVAL - time.monotonic()
        if at_once or wait <= 0:
            self._told_at = time.monotonic()
            self._call(self._tell)
        elif not self._tells_later:
            self._tells_later = True
            self._call(lambda: self._loop.call_later(wait, self._tell))

    def _tell(self) -> None:
        self._tells_later = False
        attempt, progress = self._attempt, self._progress
        partial, self._partial = self._partial, None
        if partial is None and progress <= (attempt.progress or 0.0):
            return
        if partial is not None:
            attempt.partial = _preview(partial, attempt.secrets)
        if progress:
            attempt.progress = progress
        self._told_at = time.monotonic()
        self._reporter.report_progress(attempt)

    def _call(self, report: Callable[[], object]) -> None:
        if threading.get_ident() == self._thread:
            report()
        else:
            self._loop.call_soon_threadsafe(report)


def _preview(text: str, secrets: SecretSession | None) -> bytes:
    """The end of a text as it is shown while there may be more to come, as JSON, with every secret taken out."""
    end = text[-MAX_PARTIAL:].encode(errors="replace")[-MAX_PARTIAL:].decode(errors="ignore")
    truncated = len(end) < len(text)
    shown = end if secrets is None else secrets.scrub_piece(end, begins=not truncated)
    return msgspec.json.encode({"text": shown, "truncated": True} if truncated else {"text": shown})


def _scrubbed(secrets: SecretSession, value: object) -> object:
    """A value for a log's context with every secret taken out; what is not JSON is shown as text."""
    try:
        body = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return secrets.scrub(repr(value))
    return msgspec.json.decode(secrets.scrub_json(body))
