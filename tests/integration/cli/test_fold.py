"""The command line folds events as the executor does: the vectors of tests/vectors/fold make the same state in both."""

import copy
from typing import Any

import pytest

from tests.unit.executor.replay.vectors import VECTORS, event_of
from weftline_cli import text
from weftline_cli.open_waits import OPEN_WAITS
from weftline_cli.view import NodeView, RunView
from weftline_executor.api.translate import durable_event, snapshot
from weftline_executor.model.events import RunProgressed
from weftline_executor.replay import RunProjection

LEGAL = sorted(name for name, vector in VECTORS.items() if "state" in vector)
SHOWN = ("nodeId", "status", "attempt", "duration", "reason", "error", "code", "handled", "by")


def viewed(vector: dict[str, Any]) -> RunView:
    """What the command line makes of a vector's events, as they come over the wire."""
    view = RunView()
    for message in vector["messages"]:
        view.apply(durable_event("w", "r", event_of(message)), message["timestamp"])
    return view


def joined(vector: dict[str, Any]) -> RunView:
    """What the command line makes of the executor's snapshot at a vector's end."""
    events = [event_of(message) for message in vector["messages"]]
    projection = RunProjection.of("w", "r", events)
    ids = [node["nodeId"] for node in vector["state"]["nodes"]]
    view = RunView()
    view.replace(snapshot(projection, ids, "e", RunProgressed(0, len(ids), 0, 0, 0, 0, "", 0.0, None)), 0)
    return view


def shown(node: NodeView) -> dict[str, Any]:
    """A node of the view in the shape of a vector's."""
    found = {
        "nodeId": node.node_id,
        "status": text.NODE_STATUSES.get(node.status, "pending"),
        "attempt": node.attempt,
        "duration": node.duration_ms,
        "reason": node.reason,
        "error": node.error,
        "code": node.error_code,
        "handled": node.handled,
        "by": node.by,
    }
    return {name: value for name, value in found.items() if value not in (None, "")}


@pytest.mark.parametrize("view_of", [viewed, joined], ids=["events", "snapshot"])
@pytest.mark.parametrize("name", LEGAL)
def test_a_vector_makes_the_state_that_it_says(name: str, view_of: Any) -> None:
    state = VECTORS[name]["state"]
    view = view_of(copy.deepcopy(VECTORS[name]))
    wanted = [{field: node[field] for field in SHOWN if field in node} for node in state["nodes"]]
    assert [shown(view.nodes[node["nodeId"]]) for node in state["nodes"]] == wanted
    assert text.run_state(view.state) == state["state"]
    assert (view.by, view.rerun_of) == (state.get("by", ""), state.get("rerunOf", ""))
    assert (view.parent.workflow_id if view.parent else None) == state.get("parent", {}).get("workflowId")
    counters = state["progress"]
    assert view.finished == sum(counters[name] for name in ("completedNodes", "failedNodes", "skippedNodes"))
    assert len(view.running) == counters["runningNodes"]
    open_waits = [node for node in state["nodes"] if node.get("reason") in OPEN_WAITS]
    waiting = {} if view.final else {node["nodeId"]: node.get("until") for node in open_waits}
    assert {name: each.until_ms for name, node in view.open_waits.items() if (each := node.open_wait)} == waiting
