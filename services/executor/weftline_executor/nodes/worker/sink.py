"""Where the context of an attempt in a worker process sends what the node says: to the executor, and not too often."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from weftline_executor.nodes.context import Level
from weftline_executor.nodes.worker.messages import Log, Message, Partial, Progress

INTERVAL = 0.05
MAX_LOGS = 10_001
"""One more than the executor keeps, which says itself that it keeps no more."""

_MAX_TEXT = 64 * 1024
_MAX_PARTIAL = 8192  # more than the executor shows, so that it sees that there was more
_MAX_CONTEXT = 256 * 1024


class WorkerSink:
    """Sends log lines and, at most every 50 ms, progress and text through `send`; the newest are sent in the end."""

    def __init__(self, send: Callable[[Message], None], is_cancelled: Callable[[], bool]) -> None:
        self._is_cancelled = is_cancelled
        self._send = send
        self._lock = threading.Lock()
        self._logs = 0
        self._newest = 0.0
        self._sent = 0.0
        self._partial: str | None = None
        self._sent_at = 0.0
        self._timer: threading.Timer | None = None

    def progress(self, fraction: float, message: str | None) -> None:
        """Take how far the attempt is; what is no further than before says nothing."""
        if message:
            self.log("info", message, {})
        with self._lock:
            if fraction > self._newest:
                self._newest = fraction
                self._tell_soon()

    def partial(self, text: str) -> None:
        """Take all text that the attempt has made so far, of which the end is shown."""
        with self._lock:
            self._partial = text[-_MAX_PARTIAL:]
            self._tell_soon()

    def log(self, level: str, message: str, context: Mapping[str, object]) -> None:
        """Take a log line; those that the executor would not keep are not sent."""
        with self._lock:
            self._logs += 1
            if self._logs <= MAX_LOGS:
                self._send(Log(cast("Level", level), clean(str(message)), encode_object(context, _MAX_CONTEXT)))

    def cancelled(self) -> bool:
        """Say whether the attempt should end early."""
        return self._is_cancelled()

    def close(self) -> None:
        """Send what is left; nothing that is said later goes anywhere."""
        with self._lock:
            self._stop_timer()
            self._tell()
            self._send = _drop

    def _tell_soon(self) -> None:
        wait = self._sent_at + INTERVAL - time.monotonic()
        if self._timer is None and (wait <= 0 or not self._start_timer(wait)):
            self._tell()

    def _start_timer(self, seconds: float) -> bool:
        timer = threading.Timer(seconds, self._later)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            return False  # no memory for a thread
        self._timer = timer
        return True

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> None:
        with self._lock:
            self._timer = None
            self._tell()

    def _tell(self) -> None:
        self._sent_at = time.monotonic()
        if self._newest > self._sent:
            self._sent = self._newest
            self._send(Progress(self._sent))
        if self._partial is not None:
            text, self._partial = self._partial, None
            self._send(Partial(clean(text)))


def clean(text: str, limit: int = _MAX_TEXT) -> str:
    """Cut a text so that it fits into a message, with `?` for lone surrogates, which JSON cannot hold."""
    return text[:limit].encode(errors="replace").decode()


def encode_object(values: Mapping[str, object], limit: int) -> msgspec.Raw:
    """Write an object as JSON; what JSON cannot hold becomes text, and over `limit` bytes it is left out."""
    try:
        body = msgspec.json.encode(dict(values))
    except (TypeError, ValueError, RecursionError):
        body = msgspec.json.encode({clean(str(key), 256): clean(repr(value), 256) for key, value in values.items()})
    return msgspec.Raw(body if len(body) <= limit else b'{"truncated":true}')


def _drop(message: Message) -> None:
    pass
