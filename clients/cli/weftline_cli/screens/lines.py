"""Says one event in one line of styled text."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from weftline.v1 import events_pb2 as ev
from weftline_cli import text
from weftline_cli.messages import encode
from weftline_cli.open_waits import OpenWait
from weftline_cli.view import CANCELLED, Failure, NodeView, RunView

MAX_WAITING: Final = 5
_WORD_WIDTH: Final = 9
_PAUSES: Final = {
    "unknown_outcome": "A node that must not run twice was running when the executor died.",
    "node_failed": "A node failed whose policy says to wait for a person then.",
}


def line(event: ev.Event, view: RunView) -> Text | None:
    """Return the line for an event of the view's run, after the time since its start; None for telemetry."""
    said = _say(event, view)
    if said is None:
        return None
    since_ms = max(0, event.timestamp_ms - view.started_ms) if view.started_ms else 0
    return Text.assemble((f"{'+' + text.duration(since_ms):>10}", "dim"), "  ", said)


def line_of_any(event: ev.Event) -> Text | None:
    """Return the line for an event of any workflow, after the local time and the workflow's id; None for telemetry."""
    said = _say(event, RunView())
    if said is None:
        return None
    at = datetime.fromtimestamp(event.timestamp_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    return Text.assemble((at, "dim"), "  ", (event.workflow_id, "bold"), "  ", said)


def node_name(node_id: str, view: RunView) -> str:
    """Return what to call a node: its label with its id when they differ."""
    label = text.one_line(view.label(node_id), 60)
    return node_id if label == node_id else f"{label} ({node_id})"


def failure_line(failure: Failure, view: RunView) -> Text:
    """Return the line that says why a run failed, and at which node."""
    where = f"at node {node_name(failure.node_id, view)}: " if failure.node_id else ""
    code = f" [{failure.code}]" if failure.code else ""
    return Text.assemble(("failed ", "bold red"), where, text.plain(failure.message), (code, "dim"))


def body_words(parent: ev.ParentNode) -> str:
    """Return of which node a workflow is the body."""
    item = f", for item {parent.item}" if parent.HasField("item") else ""
    return f"body of node {text.one_line(parent.node_id)} of {parent.workflow_id} (run {parent.run_id}){item}"


def open_wait_lines(view: RunView) -> Iterator[Text]:
    """Yield what nodes wait for that needs somebody, and how to answer; of many only the first."""
    waits = [(node, node.open_wait) for node in view.open_waits.values() if node.open_wait is not None]
    for node, wait in waits[:MAX_WAITING]:
        yield Text(f"{node_name(node.node_id, view)} {wait.words()}", "yellow")
        yield Text(f"  {wait.advice(view.workflow_id)}", "yellow")
    if len(waits) > MAX_WAITING:
        yield Text(f"… and {text.count(len(waits) - MAX_WAITING, 'more node')} so", "dim")


def waiting_reason(node: NodeView) -> str:
    """Return why a node is where it is, as far as the executor said."""
    if node.error:
        return f"{text.one_line(node.error)} [{node.error_code}]" if node.error_code else text.one_line(node.error)
    return node.open_wait.what() if node.open_wait else _reason(node.reason, node.by)


def _reason(reason: str, by: str) -> str:
    return reason.replace("_", " ") + (f" by {text.one_line(by)}" if by else "")


def advice(reason: str, workflow_id: str) -> str:
    """Return what to do about a run that the executor paused for this reason; empty when it was paused by a person."""
    what = _PAUSES.get(reason, "")
    if not what:
        return ""
    return f"{what} weftline resume {workflow_id} tries it again; weftline stop {workflow_id} ends the run."


def advice_on(event: ev.Event) -> str:
    """Return what to do about the pause or the wait that an event tells of; empty when it needs no person."""
    wait = OpenWait.of(event.node) if event.WhichOneof("payload") == "node" else None
    if wait is not None:
        return wait.advice(event.workflow_id)
    if event.WhichOneof("payload") != "workflow_pause" or event.workflow_pause.state != ev.RUN_STATE_PAUSED:
        return ""
    return advice(event.workflow_pause.reason, event.workflow_id)


def _say(event: ev.Event, view: RunView) -> Text | None:
    match event.WhichOneof("payload"):
        case "node":
            said = _node(event.node, view) if event.seq else None
        case "log":
            said = _log(event.log, view)
        case "workflow_start":
            said = _start(event.run_id, event.workflow_start)
        case "workflow_pause" | "workflow_resume" | "workflow_stop" as kind:
            said = _change(getattr(event, kind))
        case "complete":
            word = text.run_state(event.complete.status)
            said = _said(word, f"bold {text.STYLES.get(word, '')}", f"run {event.run_id}", "")
        case "error":
            said = _said("error", "bold red", f"run {event.run_id}", text.one_line(event.error.error))
        case _:
            said = None
    return said


def _start(run_id: str, start: ev.WorkflowStart) -> Text:
    by = f" by {text.one_line(start.by)}" if start.by else ""
    if start.rerun_of:
        by += f", takes over results of run {start.rerun_of}"
    if start.HasField("parent"):
        by += f", {body_words(start.parent)}"
    return _said("started", "bold", f"run {run_id}", f"{text.count(start.total_nodes, 'node')}{by}")


def _said(word: str, style: str, subject: str, detail: str) -> Text:
    return Text.assemble((f"{word:<{_WORD_WIDTH}}", style), "  ", subject, ("  " + detail if detail else "", "dim"))


def node_word(status: ev.NodeStatus.ValueType, error_code: str) -> str:
    """Return the word for where a node is: that of its status, but `cancelled` for one that a stop ended."""
    cancelled = status == ev.NODE_STATUS_ERROR and error_code == CANCELLED
    return CANCELLED if cancelled else text.node_status(status)


def _node(node: ev.NodeTransition, view: RunView) -> Text:
    word = node_word(node.status, node.error_code)
    details = [f"attempt {node.attempt}"] if node.attempt > 1 else []
    if node.HasField("duration_ms"):
        details.append(text.duration(node.duration_ms))
    if node.handle:
        details.append(f"took {node.handle}")
    wait = OpenWait.of(node)
    if node.reason:
        details.append(wait.words() if wait else _reason(node.reason, node.by))
    if node.HasField("artifact"):
        details.append(f"output {text.size(node.artifact.size_bytes)}: {text.one_line(node.artifact.uri)}")
    if node.handled:
        details.append(f"handled by {node.handled.replace('_', ' ')}")
    said = _said(word, text.STYLES.get(word, ""), node_name(node.node_id, view), ", ".join(details))
    if node.error and word != CANCELLED:
        code = f" [{node.error_code}]" if node.error_code else ""
        said.append(f"  {text.one_line(node.error)}{code}", "red")
    return said


def _log(log: ev.Log, view: RunView) -> Text:
    level = text.log_level(log.level)
    who = node_name(log.node_id, view) if log.node_id else "run"
    said = Text.assemble((f"{level:<{_WORD_WIDTH}}", text.STYLES.get(level, "")), "  ", (who, "dim"), "  ")
    said.append(text.one_line(log.message, 2000))
    if log.context_json:
        said.append(f"  {text.one_line(_compact(log.context_json), 2000)}", "dim")
    return said


def _compact(json_text: str) -> str:
    value = text.decode_json(json_text)
    return encode(value) if isinstance(value, dict) else json_text


def _change(change: ev.RunStateChange) -> Text:
    word = text.run_state(change.state)
    by = f"by {text.one_line(change.by)}" if change.by else ""
    why = f": {text.one_line(change.reason)}" if change.reason else ""
    in_flight = f", {text.count(len(change.in_flight), 'node')} in flight" if change.in_flight else ""
    return _said(word, text.STYLES.get(word, ""), "run", f"{by}{why}{in_flight}")
