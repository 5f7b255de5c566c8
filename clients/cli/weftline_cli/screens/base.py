"""What a screen must be able to do; whoever watches a run drives one."""

from types import TracebackType
from typing import Protocol, Self

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli.view import RunView


class Screen(Protocol):
    """Shows a watched workflow; used with `with`, so that it can give the terminal back.

    `refresh_s` is how often `refresh` wants to be called, in seconds; None for never.
    """

    refresh_s: float | None

    def __enter__(self) -> Self:
        """Take the terminal."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""

    def snapshot(self, snapshot: ws.WorkflowSnapshot, view: RunView) -> None:
        """Show that the view was replaced by a snapshot."""

    def event(self, event: ev.Event, view: RunView) -> None:
        """Show one event, which the view holds already."""

    def notice(self, words: str) -> None:
        """Say something about the watch itself, for example that its connection broke."""

    def refresh(self, view: RunView, now_ms: int) -> None:
        """Show the view as it is at `now_ms`, in milliseconds since the Unix epoch."""

    def summary(self, view: RunView) -> None:
        """Show how the run ended."""
