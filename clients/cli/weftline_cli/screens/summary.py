"""Says at the end how a run went: state, duration, counts, outputs, and what failed."""

import json
from collections.abc import Iterator

from rich.text import Text

from weftline.v1 import events_pb2 as ev
from weftline_cli import text
from weftline_cli.screens.lines import failure_line, node_name, waiting_reason
from weftline_cli.view import RunView

MAX_FAILED_NODES = 10


def summary_lines(view: RunView) -> Iterator[Text]:
    """Yield the lines of the closing summary of a run."""
    word = text.run_state(view.state)
    took = f" in {text.duration(view.elapsed_ms(view.ended_ms))}" if view.ended_ms is not None else ""
    yield Text.assemble((word, f"bold {text.STYLES.get(word, '')}"), f"  {view.workflow_id}{took}: {counts(view)}")
    if view.reason and view.state == ev.RUN_STATE_STOPPED:
        yield Text(f"reason: {text.one_line(view.reason)}")
    if view.failure:
        yield failure_line(view.failure, view)
    failed = [
        node
        for node in view.nodes.values()
        if node.status == ev.NODE_STATUS_ERROR
        and not node.cancelled
        and not node.handled
        and not (view.failure and view.failure.node_id == node.node_id)
    ]
    for node in failed[:MAX_FAILED_NODES]:
        yield Text.assemble(("error  ", "red"), node_name(node.node_id, view), ": ", waiting_reason(node))
    if len(failed) > MAX_FAILED_NODES:
        yield Text(f"… and {text.count(len(failed) - MAX_FAILED_NODES, 'more failed node')}", "dim")
    outputs = text.decode_json(view.outputs_json)
    if outputs:
        yield Text(f"outputs: {text.plain(json.dumps(outputs, ensure_ascii=False, indent=2))}")
    if view.outputs_uri:
        yield Text(f"the outputs are cut short; all of them: weftline artifact {text.plain(view.outputs_uri)}", "dim")


def counts(view: RunView) -> str:
    """Return the counters of a run in words: `9 of 12 nodes succeeded, 1 failed, 2 skipped`."""
    numbers = {
        "failed": view.counts[ev.NODE_STATUS_ERROR] - view.cancelled - view.handled,
        "failed and handled": view.handled,
        "cancelled": view.cancelled,
        "skipped": view.counts[ev.NODE_STATUS_SKIPPED],
        "running": view.counts[ev.NODE_STATUS_RUNNING],
        "waiting for an answer": len(view.open_waits),
    }
    succeeded = f"{view.counts[ev.NODE_STATUS_SUCCESS]} of {text.count(view.total, 'node')} succeeded"
    return ", ".join([succeeded, *(f"{number} {word}" for word, number in numbers.items() if number)])
