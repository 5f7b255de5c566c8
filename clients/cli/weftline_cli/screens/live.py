"""Draws a watched run on a terminal: a bar with the time to go, the running nodes, and log lines above."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.screens.lines import MAX_WAITING, advice_on, line, node_name, open_wait_lines
from weftline_cli.screens.summary import counts, summary_lines
from weftline_cli.view import NodeView, RunView

MAX_RUNNING: Final = 8
BAR_WIDTH: Final = 30


class LiveScreen:
    """A drawing that is refreshed ten times a second; what must not be missed scrolls by above it."""

    refresh_s: float | None = 0.1

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def snapshot(self, snapshot: ws.WorkflowSnapshot, view: RunView) -> None:
        """Print who has to be answered, and how, above the drawing; the next refresh draws the rest."""
        for each in open_wait_lines(view):
            self._console.print(each, soft_wrap=True)

    def event(self, event: ev.Event, view: RunView) -> None:
        """Print log lines, failures and open waits of nodes and changes of the run above the drawing."""
        kind = event.WhichOneof("payload")
        advised = advice_on(event)
        quiet = kind == "node" and event.node.status != ev.NODE_STATUS_ERROR and not advised
        said = None if quiet or kind in ("complete", "error") else line(event, view)
        if said is not None:
            self._console.print(said, soft_wrap=True)
        if advised:
            self._console.print(Text(advised, "yellow"), soft_wrap=True)

    def notice(self, words: str) -> None:
        """Print a word about the watch itself above the drawing."""
        self._console.print(Text(words, "yellow"), soft_wrap=True)

    def refresh(self, view: RunView, now_ms: int) -> None:
        """Draw the view anew; nothing before anything is known."""
        if view.run_id:
            self._live.update(drawing(view, now_ms), refresh=True)

    def summary(self, view: RunView) -> None:
        """Replace the drawing by how the run ended."""
        self._live.update(Text(), refresh=True)
        self._live.stop()
        for each in summary_lines(view):
            self._console.print(each, soft_wrap=True)


def drawing(view: RunView, now_ms: int) -> RenderableType:
    """Return the drawing of a run: its bar, the nodes that run, those that began first at the top, and open waits."""
    parts: list[RenderableType] = [_run_bar(view, now_ms)]
    running = list(view.running.values())
    if running:
        parts.append(_running_nodes(running[:MAX_RUNNING], view, now_ms))
    if len(running) > MAX_RUNNING:
        parts.append(Text(f"  … and {text.count(len(running) - MAX_RUNNING, 'more running node')}", "dim"))
    parts += _waiting_nodes(list(view.open_waits.values()), view)
    return Group(*parts)


def _waiting_nodes(nodes: list[NodeView], view: RunView) -> list[RenderableType]:
    waits = [(node_name(node.node_id, view), node.open_wait) for node in nodes[:MAX_WAITING]]
    lines = [f"  ? {name} {wait.words()}" for name, wait in waits if wait is not None]
    if len(nodes) > MAX_WAITING:
        lines.append(f"  … and {text.count(len(nodes) - MAX_WAITING, 'more waiting node')}")
    return [Text(each, "yellow") for each in lines]


def _run_bar(view: RunView, now_ms: int) -> Table:
    word = text.run_state(view.state)
    progress = view.progress
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        Text(view.workflow_id, "bold"),
        Text(word, text.STYLES.get(word, "")),
        ProgressBar(total=1.0, completed=progress or 0.0, width=BAR_WIDTH, pulse=progress is None),
        Text("" if progress is None or view.finishing(now_ms) else f"{progress:4.0%}"),
        Text(_time(view, now_ms)),
    )
    outer = Table.grid()
    outer.add_row(grid)
    outer.add_row(Text(f"  {counts(view)}{_waiting(view)}", "dim"))
    return outer


def _time(view: RunView, now_ms: int) -> str:
    elapsed = text.duration(view.elapsed_ms(now_ms))
    if view.finishing(now_ms):
        return f"{elapsed}, finishing"
    remaining = view.remaining_ms(now_ms)
    return elapsed if remaining is None else f"{elapsed}, ETA {text.duration(remaining)}"


def _waiting(view: RunView) -> str:
    paused = view.state in (ev.RUN_STATE_PAUSED, ev.RUN_STATE_PAUSING)
    return f" — {text.one_line(view.reason)}" if paused and view.reason else ""


def _running_nodes(nodes: list[NodeView], view: RunView, now_ms: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    for node in nodes:
        bar = Text("") if node.progress is None else ProgressBar(total=1.0, completed=node.progress, width=20)
        share = "" if node.progress is None else f"{node.progress:4.0%}"
        attempt = f"attempt {node.attempt}" if node.attempt > 1 else ""
        since = text.duration(now_ms - node.started_ms) if node.started_ms else ""
        grid.add_row(Text("  •", "cyan"), node_name(node.node_id, view), bar, share, Text(since, "dim"), attempt)
    return grid
