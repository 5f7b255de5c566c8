"""Lays out lists, one run, and node types as tables and lines for a person."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.screens.lines import advice, body_words, node_name, node_word, open_wait_lines, waiting_reason
from weftline_cli.screens.summary import counts, summary_lines
from weftline_cli.screens.waits import FOR_SOMEBODY, waits_for
from weftline_cli.view import FINAL_STATES, NodeView, RunView

MAX_NODES: Final = 50


def workflows_table(summaries: Iterable[ws.RunSummary], now_ms: int, *, bodies: bool = False) -> Table:
    """Return the table of `ls`: one workflow a row, durations up to `now_ms` for active runs.

    With `bodies` it says of each workflow whose body it is.
    """
    table = table_of("workflow", "state", "nodes", "started", "duration", *(["body of"] if bodies else []))
    for summary in summaries:
        end_ms = summary.ended_ms if summary.HasField("ended_ms") else now_ms
        table.add_row(
            Text(summary.workflow_id, "bold"),
            _state(text.run_state(summary.state)),
            str(summary.total_nodes),
            text.moment(summary.started_ms),
            text.duration(end_ms - summary.started_ms),
            *([summary.parent_workflow_id] if bodies else []),
        )
    return table


def run_lines(view: RunView, now_ms: int) -> Iterator[Text]:
    """Yield the lines of `get` above the nodes: state, progress, and why the run waits or failed."""
    if view.state in FINAL_STATES:
        yield from summary_lines(view)
    else:
        word = text.run_state(view.state)
        unknown = view.progress is None or view.finishing(now_ms)
        progress = "" if unknown else f" {view.progress:.0%},"
        yield Text.assemble(
            (word, f"bold {text.STYLES.get(word, '')}"), f"  {view.workflow_id}:{progress} {counts(view)}"
        )
        remaining = view.remaining_ms(now_ms)
        if view.finishing(now_ms):
            yield Text("finishing")
        elif remaining is not None:
            yield Text(f"about {text.duration(remaining)} to go")
        if view.reason:
            yield Text(f"waits: {text.one_line(view.reason).replace('_', ' ')}", "yellow")
            advised = advice(view.reason, view.workflow_id)
            if advised:
                yield Text(advised, "yellow")
        yield from open_wait_lines(view)
    by = f" by {text.one_line(view.by)}" if view.by else ""
    yield Text(f"run {view.run_id}, started {text.moment(view.started_ms)}{by}", "dim")
    if view.rerun_of:
        yield Text(f"takes over results of run {view.rerun_of}", "dim")
    if view.parent is not None:
        yield Text(body_words(view.parent), "dim")


def nodes_table(view: RunView, now_ms: int, *, every: bool) -> tuple[Table, int]:
    """Return the table of a run's nodes at `now_ms` and how many it leaves out.

    Of more than 50 nodes only those are in it that run, failed, or wait for somebody, unless `every` one is wanted.
    """
    counted = [node for node in view.nodes.values() if node.status]
    shown = counted
    if not every and len(counted) > MAX_NODES:
        shown = [node for node in counted if _matters(node)][:MAX_NODES]
    waits = any(node.waiting for node in shown)
    table = table_of("node", "type", "status", "attempt", "duration", "why", *(["waits for"] if waits else []))
    for node in shown:
        waiting = waits_for(node.waiting, view, now_ms) if node.waiting else ""
        table.add_row(*_node_row(node, view), *([Text(waiting)] if waits else []))
    return table, len(counted) - len(shown)


def node_types_table(node_types: Sequence[ws.NodeType]) -> Table:
    """Return the table of `nodes`: one node type a row."""
    table = table_of("type", "what it does", "handles", "after a crash")
    for node_type in node_types:
        handles = [*node_type.output_handles, *(["…"] if node_type.dynamic_handles else [])]
        table.add_row(
            Text(node_type.name, "bold"), _first_sentence(node_type), ", ".join(handles), node_type.idempotency
        )
    return table


def _matters(node: NodeView) -> bool:
    if node.status in (ev.NODE_STATUS_RUNNING, ev.NODE_STATUS_ERROR):
        return True
    return node.waiting is not None and node.waiting.waiting_for in FOR_SOMEBODY


def _first_sentence(node_type: ws.NodeType) -> str:
    sentence, full_stop, _ = text.one_line(node_type.description or node_type.title).partition(". ")
    return sentence + full_stop.rstrip()


def _node_row(node: NodeView, view: RunView) -> tuple[str | Text, ...]:
    progress = "" if node.progress is None else f" {node.progress:.0%}"
    return (
        Text(node_name(node.node_id, view)),
        text.one_line(node.type, 60),
        _state(node_word(node.status, node.error_code)).append(progress),
        str(node.attempt) if node.attempt else "",
        "" if node.duration_ms is None else text.duration(node.duration_ms),
        Text("" if node.cancelled else waiting_reason(node)),
    )


def _state(word: str) -> Text:
    return Text(word, text.STYLES.get(word, ""))


def table_of(*headings: str) -> Table:
    """Return an empty table as all of them look."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
