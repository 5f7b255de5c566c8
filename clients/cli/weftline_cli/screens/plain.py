"""Shows a watched run line by line, where there is no terminal to draw on."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.screens.lines import advice, advice_on, line, line_of_any, open_wait_lines
from weftline_cli.screens.summary import counts, summary_lines
from weftline_cli.view import RunView

ROUNDING: Final = 1e-6


class PlainScreen:
    """One line an event, and one for every tenth of the way; `console` is where it goes.

    With `all_workflows` each line names its workflow and the time of day.
    """

    refresh_s: float | None = None

    def __init__(self, console: Console, errors: Console, *, all_workflows: bool = False) -> None:
        self._console = console
        self._errors = errors
        self._all = all_workflows
        self._tenths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def snapshot(self, snapshot: ws.WorkflowSnapshot, view: RunView) -> None:
        """Print where the run stands."""
        self._print(f"{snapshot.workflow_id} is {text.run_state(snapshot.state)}: {counts(view)}")
        if view.state == ev.RUN_STATE_PAUSED:
            self._advise(advice(view.reason, view.workflow_id))
        for each in open_wait_lines(view):
            self._advise(each.plain)
        self._tenths = int(snapshot.progress.progress * 10 + ROUNDING)

    def event(self, event: ev.Event, view: RunView) -> None:
        """Print the event's line; of progress only each tenth of the way."""
        if event.WhichOneof("payload") == "workflow_start":
            self._tenths = 0
        if event.WhichOneof("payload") == "progress":
            self._progress(event, view)
            return
        said = line_of_any(event) if self._all else line(event, view)
        if said is not None:
            self._print(said)
        self._advise(advice_on(event))

    def notice(self, words: str) -> None:
        """Print a word about the watch itself where errors go."""
        self._errors.print(words, soft_wrap=True, markup=False, highlight=False)

    def refresh(self, view: RunView, now_ms: int) -> None:
        """Do nothing: a printed line stays as it is."""

    def summary(self, view: RunView) -> None:
        """Print how the run ended."""
        for each in summary_lines(view):
            self._print(each)

    def _progress(self, event: ev.Event, view: RunView) -> None:
        reached = event.progress.progress
        tenths = int(reached * 10 + ROUNDING)
        if self._all or tenths <= self._tenths or reached >= 1:
            return
        self._tenths = tenths
        known = event.progress.HasField("estimated_remaining_ms")
        to_go = f", about {text.duration(event.progress.estimated_remaining_ms)} to go" if known else ""
        if known and event.progress.estimated_remaining_ms == 0:
            to_go = ", finishing"
        self._print(f"{'':>10}  {reached:.0%} done, {counts(view)}{to_go}")

    def _advise(self, words: str) -> None:
        if words:
            self._print(f"{'':>10}  {words}")

    def _print(self, said: object) -> None:
        self._console.print(said, soft_wrap=True, markup=False, highlight=False)
