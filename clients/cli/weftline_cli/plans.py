"""Shows when nodes ran or will run: critical paths, and how a run would go, as lines and as JSON."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from rich.table import Table
from rich.text import Text

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.tables import table_of

MAX_ROWS: Final = 30
BAR_WIDTH: Final = 48
_CRITICAL: Final = "bold yellow"

Item = TypeVar("Item")


def path_table(path: Sequence[ws.PlannedNode]) -> Table:
    """Return the table of a critical path: when each node started and how long it took, or is expected to.

    Of more than 30 nodes those in the middle are left out.
    """
    table = table_of("critical path", "start", "duration", "")
    for node in _ends(path):
        if node is None:
            table.add_row(Text(f"… {len(path) - MAX_ROWS} more", "dim"), "", "", "")
            continue
        said = "expected" if node.expected else ""
        took = text.duration(node.end_ms - node.start_ms)
        table.add_row(
            Text(text.one_line(node.node_id, 60)), f"+{text.duration(node.start_ms)}", took, Text(said, "dim")
        )
    return table


def forecast_lines(forecast: ws.Forecast, total_nodes: int) -> Iterator[Text | Table]:
    """Yield how a run is expected to go: its duration, its critical path, and when which node runs."""
    if not forecast.known_nodes:
        yield Text("Nothing is known yet of how long its nodes take: run it once.", "yellow")
        return
    at_once = f"at most {text.count(forecast.peak_concurrency, 'node')} at once"
    yield Text.assemble("A run is expected to take ", (text.duration(forecast.duration_ms), "bold"), f", {at_once}.")
    if forecast.known_nodes < total_nodes:
        yield Text(
            f"The duration of {forecast.known_nodes} of {text.count(total_nodes, 'node')} is known; "
            "the others count as much as the average of those.",
            "dim",
        )
    names = [text.one_line(node_id, 60) for node_id in forecast.critical_path]
    shown = [name if name is not None else f"… {len(names) - MAX_ROWS} more …" for name in _ends(names)]
    yield Text.assemble("critical path: ", (" → ".join(shown), _CRITICAL))
    yield Text("")
    yield _timeline(forecast)


def path_rows(path: Iterable[ws.PlannedNode]) -> list[dict[str, Any]]:
    """Return the nodes of a path or a timeline as JSON; times are milliseconds since the run's beginning."""
    return [
        {"nodeId": node.node_id, "start": node.start_ms, "end": node.end_ms, "expected": node.expected} for node in path
    ]


def forecast_row(forecast: ws.Forecast) -> dict[str, Any]:
    """Return how a run is expected to go as JSON."""
    return {
        "duration": forecast.duration_ms,
        "peakConcurrency": forecast.peak_concurrency,
        "knownNodes": forecast.known_nodes,
        "criticalPath": list(forecast.critical_path),
        "timeline": path_rows(forecast.timeline),
    }


def _ends(items: Sequence[Item]) -> list[Item | None]:
    """Return all items, or of more than 30 the first and the last with None in between."""
    if len(items) <= MAX_ROWS:
        return list(items)
    half = MAX_ROWS // 2
    return [*items[:half], None, *items[-half:]]


def _timeline(forecast: ws.Forecast) -> Table:
    """Return a bar for each node, of more than 30 for the longest ones, first of all those on the critical path."""
    critical = set(forecast.critical_path)
    chosen = sorted(
        forecast.timeline, key=lambda node: (node.node_id not in critical, node.start_ms - node.end_ms, node.start_ms)
    )[:MAX_ROWS]
    table = table_of("node", "start", "duration", "")
    whole_ms = max(1, forecast.duration_ms)
    for node in sorted(chosen, key=lambda node: (node.start_ms, node.end_ms)):
        style = _CRITICAL if node.node_id in critical else "cyan"
        table.add_row(
            Text(text.one_line(node.node_id, 60)),
            f"+{text.duration(node.start_ms)}",
            text.duration(node.end_ms - node.start_ms),
            Text(_bar(node, whole_ms), style),
        )
    left_out = len(forecast.timeline) - len(chosen)
    if left_out:
        table.add_row(Text(f"… {text.count(left_out, 'shorter node')}", "dim"), "", "", "")
    return table


def _bar(node: ws.PlannedNode, whole_ms: int) -> str:
    begin = min(BAR_WIDTH - 1, node.start_ms * BAR_WIDTH // whole_ms)
    end = min(BAR_WIDTH, -(-node.end_ms * BAR_WIDTH // whole_ms))
    return " " * begin + "█" * max(1, end - begin)
