"""Every event of the executor as the JSON that a client gets, and what happens to those that have none."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as pb
from weftline_bridge.errors import TranslationError
from weftline_bridge.frames import Message
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.state import replay_messages, snapshot_message, start_payload
from weftline_bridge.upstream.states import translate_state
from weftline_bridge.upstream.translate import NODE_STATUSES, RUN_STATES, WAITING_FOR, translate, translate_all

UNKNOWN_STATUS = cast(ev.NodeStatus.ValueType, 99)
UNKNOWN_STATE = cast(ev.RunState.ValueType, 99)
MINT = Mint("bridge", lambda: 42)


def event(seq: int = 7, **payload: Any) -> ev.Event:
    return ev.Event(id="r-7", workflow_id="wf", run_id="r", seq=seq, timestamp_ms=1234, **payload)


def payload_of(message: Message) -> dict[str, Any]:
    decoded = msgspec.json.decode(message.data)
    assert isinstance(decoded["payload"], dict)
    return decoded["payload"]


def node(status: ev.NodeStatus.ValueType, **fields: Any) -> ev.NodeTransition:
    return ev.NodeTransition(node_id="n", status=status, attempt=2, **fields)


PARENT = ev.ParentNode(workflow_id="outer", run_id="o", node_id="each", depth=1, item=0)
PARENT_PAYLOAD = {"workflowId": "outer", "runId": "o", "nodeId": "each", "depth": 1, "item": 0}
ARTIFACT = ev.Artifact(uri="weftline:r/ab", size_bytes=70_000, sha256="ab", content_type="application/json")
ARTIFACT_PAYLOAD = {"uri": "weftline:r/ab", "size": 70_000, "sha256": "ab", "contentType": "application/json"}

CASES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        {"workflow_start": ev.WorkflowStart(definition_json='{"nodes": [], "edges": [], "config": {}}', by="me")},
        "workflow.start",
        {"nodes": [], "edges": [], "config": {}, "by": "me"},
    ),
    (
        {"workflow_start": ev.WorkflowStart(definition_json="{}", by="me", parent=PARENT, rerun_of="q")},
        "workflow.start",
        {"by": "me", "parent": PARENT_PAYLOAD, "rerunOf": "q"},
    ),
    (
        {"workflow_pause": ev.RunStateChange(state=ev.RUN_STATE_PAUSING, by="me", in_flight=["a"], mode="drain")},
        "workflow.pause",
        {"state": "pausing", "by": "me", "inFlight": ["a"], "mode": "drain"},
    ),
    (
        {"workflow_resume": ev.RunStateChange(state=ev.RUN_STATE_RUNNING, by="me", reason="back")},
        "workflow.resume",
        {"state": "running", "by": "me", "inFlight": [], "reason": "back"},
    ),
    (
        {"workflow_stop": ev.RunStateChange(state=ev.RUN_STATE_STOPPING)},
        "workflow.stop",
        {"state": "stopping", "by": "", "inFlight": []},
    ),
    (
        {"node": node(ev.NODE_STATUS_PENDING, reason="recovered")},
        "node.pending",
        {"nodeId": "n", "status": "pending", "attempt": 2, "reason": "recovered"},
    ),
    (
        {"node": node(ev.NODE_STATUS_PENDING, reason="retry", due_ms=1795341688000)},
        "node.pending",
        {"nodeId": "n", "status": "pending", "attempt": 2, "reason": "retry", "retryAt": 1795341688000},
    ),
    (
        {"node": node(ev.NODE_STATUS_PENDING, reason="approval", due_ms=5, data_json='{"message":"ok?"}')},
        "node.pending",
        {
            "nodeId": "n",
            "status": "pending",
            "attempt": 2,
            "reason": "approval",
            "until": 5,
            "data": {"message": "ok?"},
        },
    ),
    (
        {"node": node(ev.NODE_STATUS_SUCCESS, reason="completed", by="ada", data_json='"yes"', artifact=ARTIFACT)},
        "node.success",
        {
            "nodeId": "n",
            "status": "success",
            "attempt": 2,
            "reason": "completed",
            "by": "ada",
            "data": "yes",
            "artifact": ARTIFACT_PAYLOAD,
        },
    ),
    (
        {"node": node(ev.NODE_STATUS_ERROR, error="no", error_code="e", handled="default_value", data_json="7")},
        "node.error",
        {
            "nodeId": "n",
            "status": "error",
            "attempt": 2,
            "error": "no",
            "code": "e",
            "data": 7,
            "handled": "default_value",
        },
    ),
    ({"node": node(ev.NODE_STATUS_RUNNING)}, "node.running", {"nodeId": "n", "status": "running", "attempt": 2}),
    (
        {"node": node(ev.NODE_STATUS_SUCCESS, data_json='{"a":[1,null]}', duration_ms=0, handle="true")},
        "node.success",
        {
            "nodeId": "n",
            "status": "success",
            "attempt": 2,
            "data": {"a": [1, None]},
            "duration": 0,
            "handle": "true",
        },
    ),
    (
        {"node": node(ev.NODE_STATUS_ERROR, error='it "broke"', error_code="node_failed", duration_ms=5)},
        "node.error",
        {
            "nodeId": "n",
            "status": "error",
            "attempt": 2,
            "error": 'it "broke"',
            "code": "node_failed",
            "duration": 5,
        },
    ),
    (
        {"node": node(ev.NODE_STATUS_SKIPPED, reason="condition_false")},
        "node.skipped",
        {"nodeId": "n", "status": "skipped", "attempt": 2, "reason": "condition_false"},
    ),
    (
        {"progress": ev.Progress(total_nodes=4, completed_nodes=1, running_nodes=2, current_node="n", progress=0.5)},
        "execution.progress",
        {
            "totalNodes": 4,
            "completedNodes": 1,
            "failedNodes": 0,
            "skippedNodes": 0,
            "runningNodes": 2,
            "currentNode": "n",
            "progress": 0.5,
        },
    ),
    (
        {"log": ev.Log(level=ev.LOG_LEVEL_WARN, message="mind\n", node_id="n", context_json='{"k": 1}')},
        "execution.log",
        {"level": "warn", "message": "mind\n", "nodeId": "n", "context": {"k": 1}},
    ),
    (
        {"complete": ev.RunComplete(status=ev.RUN_STATE_STOPPED, duration_ms=9, total_nodes=3, failed_nodes=1)},
        "execution.complete",
        {
            "status": "stopped",
            "duration": 9,
            "totalNodes": 3,
            "completedNodes": 0,
            "failedNodes": 1,
            "skippedNodes": 0,
            "outputs": {},
        },
    ),
    (
        {"error": ev.RunError(error="no", code="node_failed", node_id="n", details_json='{"d": 1}')},
        "execution.error",
        {"error": "no", "code": "node_failed", "nodeId": "n", "details": {"d": 1}},
    ),
]


@pytest.mark.parametrize(("payload", "kind", "expected"), CASES, ids=[case[1] for case in CASES])
def test_an_event_becomes_the_message_of_its_type(payload: dict[str, Any], kind: str, expected: dict[str, Any]) -> None:
    message = translate(event(**payload))
    assert msgspec.json.decode(message.data) == {
        "id": "r-7",
        "type": kind,
        "timestamp": 1234,
        "workflowId": "wf",
        "runId": "r",
        "seq": 7,
        "payload": expected,
    }
    assert (message.type, message.workflow_id, message.seq, message.timestamp_ms) == (kind, "wf", 7, 1234)
    assert message.node_id == ("n" if "node" in payload else "")
    assert not message.v1_only


def test_every_payload_of_the_contract_is_covered() -> None:
    oneof = ev.Event.DESCRIPTOR.oneofs_by_name["payload"]
    assert {field.name for field in oneof.fields} == {name for payload, _, _ in CASES for name in payload}
    assert set(NODE_STATUSES) == set(ev.NodeStatus.values()) - {0}
    assert set(RUN_STATES) == set(ev.RunState.values()) - {0}


def test_telemetry_of_a_node_has_no_seq_and_is_keyed_by_node() -> None:
    message = translate(event(seq=0, node=node(ev.NODE_STATUS_RUNNING, progress=0.25)))
    decoded = msgspec.json.decode(message.data)
    assert "seq" not in decoded
    assert decoded["payload"] == {"nodeId": "n", "status": "running", "attempt": 2, "progress": 0.25}
    assert message.key == ("wf", "n")
    again = translate(event(seq=0, node=node(ev.NODE_STATUS_RUNNING, progress=0.25)))
    later = translate(event(seq=0, node=node(ev.NODE_STATUS_RUNNING, progress=0.5)))
    assert message.state == again.state != later.state


def test_telemetry_of_a_run_is_keyed_by_workflow_and_may_tell_the_time_that_remains() -> None:
    message = translate(event(seq=0, progress=ev.Progress(total_nodes=1, estimated_remaining_ms=0)))
    assert payload_of(message)["estimatedTimeRemaining"] == 0
    assert message.key == ("wf", "")


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"node": ev.NodeTransition(node_id="n")},
        {"node": ev.NodeTransition(node_id="n", status=UNKNOWN_STATUS)},
        {"log": ev.Log(message="of no level")},
        {"workflow_pause": ev.RunStateChange()},
        {"complete": ev.RunComplete(status=UNKNOWN_STATE)},
        {"workflow_start": ev.WorkflowStart(definition_json="[]")},
    ],
)
def test_what_the_protocol_does_not_know_is_a_translation_error(payload: dict[str, Any]) -> None:
    with pytest.raises(TranslationError):
        translate(event(**payload))


def test_one_bad_event_does_not_stop_those_around_it() -> None:
    good = {"node": node(ev.NODE_STATUS_RUNNING)}
    quarantined: list[str] = []

    def quarantine(bad: ev.Event, error: TranslationError) -> Message:
        quarantined.append(f"{bad.seq}: {error}")
        return Message(b"{}", "stream.gap", "wf", bad.seq)

    messages = translate_all([event(1, **good), event(2), event(3, **good)], quarantine)
    assert [(message.seq, message.type) for message in messages] == [
        (1, "node.running"),
        (2, "stream.gap"),
        (3, "node.running"),
    ]
    assert quarantined[0].startswith("2: ")


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("{}", {"by": 'a"b'}),
        ('{"nodes":[]}', {"nodes": [], "by": 'a"b'}),
        (' {\n"config": {"by": 1} \n} ', {"config": {"by": 1}, "by": 'a"b'}),
        ('{"by": "forged"}', {"by": 'a"b'}),
        ('{"nodes": [{"parent": 1}], "parent": 1, "rerunOf": "x"}', {"nodes": [{"parent": 1}], "by": 'a"b'}),
        ('{"config": {"parent": 1}}', {"config": {"parent": 1}, "by": 'a"b'}),
        ('{"traceId": "forged"}', {"by": 'a"b'}),
    ],
)
def test_who_started_is_added_to_the_definitions_own_text(definition: str, expected: dict[str, Any]) -> None:
    assert msgspec.json.decode(start_payload(definition, 'a"b')) == expected


@pytest.mark.parametrize("definition", ["", "[]", "null", '{"a":1', '{"parent" 1}'])
def test_a_definition_that_is_no_object_is_refused(definition: str) -> None:
    with pytest.raises(ValueError, match="JSON object"):
        start_payload(definition, "me")


def snapshot(state: ev.RunState.ValueType, **fields: Any) -> pb.WorkflowSnapshot:
    return pb.WorkflowSnapshot(
        workflow_id="wf",
        run_id="r",
        epoch="e",
        seq=9,
        state=state,
        definition_json='{"nodes":[{"id":"n"}],"edges":[],"config":{}}',
        by="me",
        started_ms=1000,
        nodes=[node(ev.NODE_STATUS_RUNNING, progress=0.5)],
        progress=ev.Progress(total_nodes=1, running_nodes=1),
        logs=[event(8, log=ev.Log(level=ev.LOG_LEVEL_INFO, message="hi"))],
        **fields,
    )


def test_a_snapshot_holds_the_whole_state() -> None:
    state = translate_state(snapshot(ev.RUN_STATE_ERROR, ended_ms=1500, error=ev.RunError(error="no", code="c")))
    message = snapshot_message(state, MINT)
    decoded = msgspec.json.decode(message.data)
    assert (decoded["id"], decoded["timestamp"], decoded["runId"]) == ("bridge-1", 42, "r")
    assert "seq" not in decoded
    payload = decoded["payload"]
    assert payload["definition"]["nodes"] == [{"id": "n"}]
    assert payload["nodes"] == [{"nodeId": "n", "status": "running", "attempt": 2, "progress": 0.5}]
    assert payload["logs"][0]["payload"]["message"] == "hi"
    assert payload["error"] == {"error": "no", "code": "c"}
    assert (payload["startedAt"], payload["endedAt"], payload["state"]) == (1000, 1500, "error")
    assert message.v1_only


def test_a_state_says_what_nodes_wait_for_and_where_the_run_comes_from() -> None:
    given = snapshot(ev.RUN_STATE_RUNNING, parent=PARENT, rerun_of="q", trace_id="4bf9")
    given.nodes[0].CopyFrom(node(ev.NODE_STATUS_PENDING, reason="event", due_ms=5, data_json='{"event":"paid"}'))
    given.nodes.append(node(ev.NODE_STATUS_PENDING, reason="retry", due_ms=6))
    given.nodes.append(node(ev.NODE_STATUS_SUCCESS, reason="completed", by="ada", artifact=ARTIFACT))
    state = translate_state(given)
    payload = payload_of(snapshot_message(state, MINT))
    origin = {"parent": PARENT_PAYLOAD, "rerunOf": "q", "traceId": "4bf9"}
    assert origin.items() <= payload.items()
    told = [{name: each[name] for name in each if name not in ("nodeId", "attempt")} for each in payload["nodes"]]
    assert told == [
        {"status": "pending", "reason": "event", "until": 5, "data": {"event": "paid"}},
        {"status": "pending", "reason": "retry", "retryAt": 6},
        {"status": "success", "reason": "completed", "by": "ada", "artifact": ARTIFACT_PAYLOAD},
    ]
    start, *nodes = replay_messages(state, MINT)
    assert payload_of(start) == {**payload["definition"], "by": "me", **origin}
    assert [payload_of(message) for message in nodes[:3]] == payload["nodes"]


@pytest.mark.parametrize(
    ("waiting", "told"),
    [
        (
            ev.Waiting(waiting_for=ev.WAITING_FOR_PARENTS, parent_ids=["a", "b"], parents=9),
            {"for": "parents", "parents": ["a", "b"], "count": 9},
        ),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_RUN_SLOT, position=3), {"for": "run_slot", "position": 3}),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_RETRY, due_ms=7), {"for": "retry", "until": 7}),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_EVENT, event="paid"), {"for": "event", "event": "paid"}),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_RESUME), {"for": "resume"}),
    ],
)
def test_a_state_says_why_a_node_does_not_run(waiting: ev.Waiting, told: dict[str, Any]) -> None:
    given = snapshot(ev.RUN_STATE_RUNNING)
    given.nodes[0].CopyFrom(ev.NodeTransition(node_id="n", status=ev.NODE_STATUS_PENDING, waiting=waiting))
    payload = payload_of(snapshot_message(translate_state(given), MINT))
    assert payload["nodes"] == [{"nodeId": "n", "status": "pending", "attempt": 0, "waiting": told}]


def test_every_kind_of_waiting_of_the_contract_has_a_word() -> None:
    assert set(WAITING_FOR) == set(ev.WaitingFor.values()) - {0}


@pytest.mark.parametrize(
    ("state", "last"),
    [
        (ev.RUN_STATE_RUNNING, ("execution.progress", {"totalNodes": 1})),
        (ev.RUN_STATE_PAUSED, ("workflow.pause", {"state": "paused", "inFlight": ["n"]})),
        (ev.RUN_STATE_PAUSING, ("workflow.pause", {"state": "pausing"})),
        (ev.RUN_STATE_STOPPING, ("workflow.stop", {"state": "stopping"})),
        (ev.RUN_STATE_SUCCESS, ("execution.complete", {"status": "success", "duration": 500, "outputs": {"o": 1}})),
        (ev.RUN_STATE_ERROR, ("execution.error", {"error": "no"})),
    ],
)
def test_a_state_is_replayed_in_messages_of_the_original_design(
    state: ev.RunState.ValueType, last: tuple[str, dict[str, Any]]
) -> None:
    error = ev.RunError(error="no", code="c")
    found = translate_state(snapshot(state, ended_ms=1500, outputs_json='{"o":1}', error=error))
    messages = replay_messages(found, MINT)
    assert [message.type for message in messages[:3]] == ["workflow.start", "node.running", "execution.progress"]
    assert all("seq" not in msgspec.json.decode(message.data) for message in messages)
    assert not any(message.v1_only for message in messages)
    kind, expected = last
    assert messages[-1].type == kind
    assert expected.items() <= payload_of(messages[-1]).items()


def test_outputs_that_are_cut_short_say_where_they_are_whole() -> None:
    artifact = ev.Artifact(uri="weftline:r/0", size_bytes=9, sha256="0", content_type="application/json")
    shown = {"uri": "weftline:r/0", "size": 9, "sha256": "0", "contentType": "application/json"}
    found = translate_state(snapshot(ev.RUN_STATE_SUCCESS, ended_ms=1500, outputs_json="{}", outputs_artifact=artifact))
    assert payload_of(snapshot_message(found, MINT))["outputsArtifact"] == shown
    assert payload_of(replay_messages(found, MINT)[-1])["artifact"] == shown
    complete = ev.RunComplete(status=ev.RUN_STATE_SUCCESS, outputs_json="{}", artifact=artifact)
    assert payload_of(translate(event(complete=complete)))["artifact"] == shown


def test_a_snapshot_with_a_value_that_is_not_known_is_a_translation_error() -> None:
    with pytest.raises(TranslationError, match="wf"):
        translate_state(snapshot(ev.RUN_STATE_UNSPECIFIED))
