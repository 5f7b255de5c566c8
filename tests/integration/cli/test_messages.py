"""What `--json` prints of an event is, field for field, the message that the bridge casts, which can be read back."""

import json

import pytest

from tests.repository.layout import ROOT
from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.state import snapshot_message
from weftline_bridge.upstream.states import translate_state
from weftline_bridge.upstream.translate import translate
from weftline_cli.bridge_watch.reading import count_nodes, read_event, read_snapshot
from weftline_cli.messages import encode, event_message
from weftline_cli.messages import snapshot_message as cli_snapshot
from weftline_cli.text import load_json
from weftline_executor.graph import Limits, compile_graph
from weftline_executor.graph.definition import DECORATION
from weftline_executor.nodes import Registry

CHANGE = ev.RunStateChange(state=ev.RUN_STATE_PAUSING, by="ada", in_flight=["a"], mode="drain", reason="lunch")
PARENT = ev.ParentNode(workflow_id="outer", run_id="o", node_id="each", depth=1, item=0)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
START = ev.WorkflowStart(
    definition_json='{"nodes":[],"parent":1}', by="ada", parent=PARENT, rerun_of=make.NEWER_RUN, trace_id=TRACE
)
ARTIFACT = ev.Artifact(uri="weftline:r/ab", size_bytes=70_000, sha256="ab", content_type="application/json")
EVENTS = [
    make.started(1, "a", "b"),
    make.event(1, workflow_start=START),
    make.event(1, workflow_start=ev.WorkflowStart(definition_json="{}", parent=ev.ParentNode(workflow_id="outer"))),
    make.event(2, workflow_pause=CHANGE),
    make.event(3, workflow_resume=ev.RunStateChange(state=ev.RUN_STATE_RUNNING)),
    make.event(4, workflow_stop=ev.RunStateChange(state=ev.RUN_STATE_STOPPING, by="ada", mode="terminate")),
    make.node(5, "a", ev.NODE_STATUS_PENDING, reason="concurrency"),
    make.node(6, "a", ev.NODE_STATUS_RUNNING),
    make.node(7, "a", ev.NODE_STATUS_SUCCESS, data_json='{"x": [1, null, "é"]}', duration_ms=0, handle="true"),
    make.node(8, "a", ev.NODE_STATUS_ERROR, error="no", error_code="node_failed", duration_ms=3, attempt=2),
    make.node(8, "a", ev.NODE_STATUS_ERROR, error="no", error_code="node_failed", duration_ms=3, handled="retry"),
    make.node(8, "a", ev.NODE_STATUS_PENDING, reason="retry", due_ms=make.BEGAN_MS + 900, attempt=2),
    make.node(8, "a", ev.NODE_STATUS_PENDING, reason="approval", due_ms=make.BEGAN_MS, data_json='{"message":"ok?"}'),
    make.node(8, "a", ev.NODE_STATUS_PENDING, reason="event", data_json='{"event":"paid"}'),
    make.node(8, "a", ev.NODE_STATUS_SUCCESS, reason="completed", by="ada", data_json="{}", artifact=ARTIFACT),
    make.node(9, "b", ev.NODE_STATUS_SKIPPED, reason="branch_not_taken", attempt=0),
    make.node_progress("a", 0.0),
    make.run_progress(0.25, total=4),
    make.run_progress(0.5, total=4, remaining_ms=0),
    make.log(10, "hello", "a"),
    make.event(11, log=ev.Log(level=ev.LOG_LEVEL_WARN, message="", context_json='{"k": 1}')),
    make.completed(12, outputs='{"out": 1}'),
    make.failed(13, "a"),
    make.event(14, error=ev.RunError(error="crash", code="crash_loop", details_json='{"n": 21}')),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.WhichOneof('payload')}-{event.seq}")
def test_an_event_reads_the_same_on_the_command_line_and_over_websocket(event: ev.Event) -> None:
    assert event_message(event) == json.loads(translate(event).data)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.WhichOneof('payload')}-{event.seq}")
def test_an_event_that_came_over_websocket_prints_the_same_bytes(event: ev.Event) -> None:
    assert encode(event_message(read_event(json.loads(translate(event).data)))) == encode(event_message(event))


@pytest.mark.parametrize(
    "text",
    [
        '{"by":"me","nodes":[],"parent":1,"rerunOf":2,"traceId":3,"edges":[]}',
        '{"nodes":[],"by":"me"}',
        "{}",
        '{"nodes":[1.50,1e400,-0.0,12345678901234567890,"\\ud800\\u0000"],"nodes":[]}',
    ],
)
def test_a_start_prints_the_same_bytes_whatever_the_definition_holds(text: str) -> None:
    event = make.event(1, workflow_start=ev.WorkflowStart(definition_json=text, by="ada", rerun_of=make.RUN))
    assert encode(event_message(read_event(load_json(translate(event).data.decode())))) == encode(event_message(event))


@pytest.mark.parametrize("data", ["null", "0", "1.0", "1E2", '"é\\ud800"', "9" * 5000, '{"b":1,"a":[1e999]}', "1e-400"])
def test_an_output_prints_the_same_bytes_whatever_it_is(data: str) -> None:
    event = make.node(7, "a", ev.NODE_STATUS_SUCCESS, data_json=data, duration_ms=0)
    assert encode(event_message(read_event(load_json(translate(event).data.decode())))) == encode(event_message(event))


def sample_state() -> ws.WorkflowSnapshot:
    """A state that has all that one can have."""
    state = make.snapshot(9, ev.RUN_STATE_ERROR, statuses={"a": ev.NODE_STATUS_SUCCESS, "b": ev.NODE_STATUS_PENDING})
    state.nodes[0].artifact.CopyFrom(ARTIFACT)
    state.nodes[1].reason, state.nodes[1].due_ms = "approval", make.BEGAN_MS
    state.parent.CopyFrom(PARENT)
    state.trace_id = TRACE
    state.rerun_of, state.reason, state.ended_ms = make.NEWER_RUN, "enough", make.BEGAN_MS + 5
    state.outputs_json = "{}"
    state.error.CopyFrom(ev.RunError(error="no", code="node_failed", node_id="a"))
    state.logs.append(make.log(3, "hello"))
    waiting = ev.Waiting(
        waiting_for=ev.WAITING_FOR_PARENTS, parent_ids=["a"], parents=1, position=2, due_ms=3, event="e"
    )
    state.nodes[1].waiting.CopyFrom(waiting)
    state.outputs_artifact.CopyFrom(ARTIFACT)
    return state


def test_a_snapshot_reads_the_same_on_the_command_line_and_over_websocket() -> None:
    state = sample_state()
    bridge = json.loads(snapshot_message(translate_state(state), Mint("b", lambda: 1)).data)
    assert cli_snapshot(state)["payload"] == bridge["payload"]


def test_a_snapshot_that_came_over_websocket_is_the_one_that_was_sent() -> None:
    state = sample_state()
    state.generation = 0
    came = read_snapshot(json.loads(snapshot_message(translate_state(state), Mint("b", lambda: 1)).data))
    assert encode(cli_snapshot(came)) == encode(cli_snapshot(state))
    state.definition_json = came.definition_json
    state.logs[0].CopyFrom(came.logs[0])
    assert came == state


CANVASES = [
    *(json.loads(path.read_text()) for path in sorted((ROOT / "examples").glob("*.json"))),
    {
        "nodes": [
            {"id": "each", "type": "map", "data": {"items": [1]}},
            {"id": "in", "type": "noop", "parentId": "each"},
            {"id": "inner", "type": "workflow", "parentId": "each"},
            {"id": "deep", "type": "noop", "parentId": "inner"},
            {"id": "boxed", "type": "noop", "parentId": "group"},
            *({"id": kind, "type": kind} for kind in sorted(DECORATION)),
        ],
        "edges": [],
    },
]


@pytest.mark.parametrize("canvas", CANVASES, ids=lambda canvas: f"{len(canvas['nodes'])}-nodes")
def test_as_many_nodes_are_counted_as_the_executor_counts(canvas: dict[str, object]) -> None:
    graph = compile_graph(json.dumps(canvas), Registry.with_builtins(), Limits())
    assert count_nodes(canvas) == len(graph)


def test_the_sample_has_every_kind_of_event() -> None:
    kinds = {field.name for field in ev.Event.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert {event.WhichOneof("payload") for event in EVENTS} == kinds
