"""Writes a watched run as NDJSON: one message a line, nothing else."""

from types import TracebackType
from typing import Self, TextIO

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.messages import encode, event_message, snapshot_message
from weftline_cli.view import RunView


class NdjsonScreen:
    """Messages go to `out`, each flushed at once; words about the watch itself go to `errors`."""

    refresh_s: float | None = None

    def __init__(self, out: TextIO, errors: TextIO) -> None:
        self._out = out
        self._errors = errors

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def snapshot(self, snapshot: ws.WorkflowSnapshot, view: RunView) -> None:
        """Write the snapshot."""
        print(encode(snapshot_message(snapshot)), file=self._out, flush=True)

    def event(self, event: ev.Event, view: RunView) -> None:
        """Write the event."""
        print(encode(event_message(event)), file=self._out, flush=True)

    def notice(self, words: str) -> None:
        """Write a word about the watch itself where errors go."""
        print(words, file=self._errors, flush=True)

    def refresh(self, view: RunView, now_ms: int) -> None:
        """Do nothing: there is nothing to draw."""

    def summary(self, view: RunView) -> None:
        """Do nothing: the last message says it."""
