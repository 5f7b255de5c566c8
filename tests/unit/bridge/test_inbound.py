"""What a client may send becomes a request; anything else becomes an error, never an exception of another kind."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_bridge.errors import BadMessageError
from weftline_bridge.frames import Dialect
from weftline_bridge.protocol import names
from weftline_bridge.protocol.inbound import (
    Complete,
    CursorRequest,
    Echo,
    Pause,
    Request,
    Rerun,
    Resume,
    Retry,
    Start,
    Stop,
    Subscribe,
    Unsubscribe,
    parse_message,
    split_frame,
)

IDS = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


def parse(kind: str, payload: Any = None, dialect: Dialect = Dialect.V1, **fields: Any) -> Request:
    message = {"id": "m", "type": kind, "timestamp": 1.5, "workflowId": "wf", **fields}
    if payload is not None:
        message["payload"] = payload
    (raw,) = split_frame(json.dumps(message).encode(), dialect)
    return parse_message(raw, dialect)


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        (names.WORKFLOW_PAUSE, None, Pause("m", "wf", "drain", "")),
        (names.WORKFLOW_PAUSE, {"mode": "immediate", "reason": "r"}, Pause("m", "wf", "immediate", "r")),
        (names.WORKFLOW_RESUME, {}, Resume("m", "wf", "")),
        (names.WORKFLOW_STOP, {}, Stop("m", "wf", "graceful", None, "")),
        (names.WORKFLOW_STOP, {"mode": "terminate", "grace": 0}, Stop("m", "wf", "terminate", 0, "")),
        (names.WORKFLOW_STOP, {"grace": 3.0, "unknown": 1}, Stop("m", "wf", "graceful", 3, "")),
        (names.WORKFLOW_RETRY, None, Retry("m", "wf", "")),
        (names.WORKFLOW_RETRY, {"reason": "mended"}, Retry("m", "wf", "mended")),
        (names.WORKFLOW_RERUN, {"fromNodeId": "n"}, Rerun("m", "wf", "n")),
        (names.NODE_COMPLETE, {"nodeId": "n"}, Complete("m", "wf", "n", "", "")),
        (names.NODE_COMPLETE, {"nodeId": "n", "data": False}, Complete("m", "wf", "n", "", "false")),
        (
            names.NODE_COMPLETE,
            {"event": "e", "nodeId": None, "data": {"a": 1}},
            Complete("m", "wf", "", "e", '{"a": 1}'),
        ),
        (names.WORKFLOW_SUBSCRIBE, None, Subscribe("m", "wf", None, True, 1)),
        (names.WORKFLOW_SUBSCRIBE, {"logs": "error", "telemetry": False}, Subscribe("m", "wf", None, False, 4)),
        (
            names.WORKFLOW_SUBSCRIBE,
            {"cursor": {"epoch": "e", "seq": 5}},
            Subscribe("m", "wf", CursorRequest("e", 5), True, 1),
        ),
        (names.WORKFLOW_SUBSCRIBE, {"catchUp": "smallest"}, Subscribe("m", "wf", None, True, 1, True)),
        (names.WORKFLOW_SUBSCRIBE, {"cursor": None}, Subscribe("m", "wf", None, True, 1)),
        (names.WORKFLOW_UNSUBSCRIBE, None, Unsubscribe("m", "wf")),
        (names.HEARTBEAT, {"serverTime": 5}, Echo("m", "", 5)),
        (names.HEARTBEAT, None, Echo("m", "", None)),
    ],
)
def test_good_messages_become_requests(kind: str, payload: Any, expected: Request) -> None:
    assert parse(kind, payload) == expected


@pytest.mark.parametrize(
    ("came", "kept"),
    [
        (f"00-{IDS}-01", f"00-{IDS}-01"),
        (f"00-{IDS}-02", f"00-{IDS}-00"),
        (f"cc-{IDS}-03-what-the-future-adds", f"00-{IDS}-01"),
        (f"00-{IDS}-01-more", ""),
        (f"ff-{IDS}-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"cc-{IDS}-01-{'x' * 300}", ""),
        (f"00-{IDS.upper()}-01", ""),
        (f"00-{IDS}-01\n", ""),
        (None, ""),
        (7, ""),
        (["00"], ""),
    ],
)
def test_what_is_a_traceparent_is_kept_and_what_is_none_is_no_fault(came: Any, kept: str) -> None:
    for kind in (names.WORKFLOW_PAUSE, names.WORKFLOW_RETRY, names.WORKFLOW_SUBSCRIBE):
        assert parse(kind, traceparent=came).traceparent == kept
    assert parse(names.WORKFLOW_PAUSE).traceparent == ""


def test_all_workflows_may_be_subscribed_to_but_not_commanded() -> None:
    assert parse(names.WORKFLOW_SUBSCRIBE, workflowId="*").workflow_id == "*"
    with pytest.raises(BadMessageError) as raised:
        parse(names.WORKFLOW_PAUSE, workflowId="*")
    assert raised.value.code == "bad_workflow_id"


def test_the_definition_is_kept_as_the_text_that_came() -> None:
    text = b'{"id":"m","type":"workflow.start","workflowId":"wf","payload": { "nodes":[ ], "edges":[],"n":1.0e2 }}'
    (raw,) = split_frame(text, Dialect.PLAIN)
    request = parse_message(raw, Dialect.PLAIN)
    assert isinstance(request, Start)
    assert request.definition == '{ "nodes":[ ], "edges":[],"n":1.0e2 }'


def test_every_fault_of_a_message_is_told_at_once() -> None:
    with pytest.raises(BadMessageError) as raised:
        parse(names.WORKFLOW_START, {"nodes": 1, "config": []})
    assert [(item.path, item.got) for item in raised.value.misfits] == [
        ("payload.nodes", "number 1"),
        ("payload.edges", "nothing"),
        ("payload.config", "an array"),
    ]
    assert raised.value.command_id == "m"


@pytest.mark.parametrize(
    ("kind", "payload", "path", "got"),
    [
        (names.WORKFLOW_RERUN, {}, "payload.fromNodeId", "nothing"),
        (names.WORKFLOW_RERUN, {"fromNodeId": ""}, "payload.fromNodeId", "a string of 0 characters"),
        (names.WORKFLOW_RETRY, {"reason": 1}, "payload.reason", "number 1"),
        (names.NODE_COMPLETE, {}, "payload.nodeId", "nothing"),
        (names.NODE_COMPLETE, {"nodeId": "n", "event": "e"}, "payload.event", "both"),
        (names.NODE_COMPLETE, {"event": "e" * 257}, "payload.event", "a string of 257 characters"),
        (names.NODE_COMPLETE, {"nodeId": "n", "data": "x" * 32_767}, "payload.data", "32769 bytes"),
    ],
)
def test_a_command_that_names_nothing_or_too_much_is_refused(kind: str, payload: Any, path: str, got: str) -> None:
    with pytest.raises(BadMessageError) as raised:
        parse(kind, payload)
    assert [(item.path, item.got) for item in raised.value.misfits] == [(path, got)]


def test_the_output_of_a_completed_node_is_kept_as_the_text_that_came() -> None:
    text = b'{"id":"m","type":"node.complete","workflowId":"wf","payload":{"nodeId":"n","data": [1.0e2, "\\u00e9"] }}'
    (raw,) = split_frame(text, Dialect.V1)
    request = parse_message(raw, Dialect.V1)
    assert isinstance(request, Complete)
    assert request.data == '[1.0e2, "\\u00e9"]'


@pytest.mark.parametrize("kind", sorted(names.V1_IN - names.PLAIN_IN))
def test_what_the_original_design_does_not_know_is_unknown_in_the_plain_dialect(kind: str) -> None:
    with pytest.raises(BadMessageError) as raised:
        parse(kind, {"nodeId": "n"}, Dialect.PLAIN)
    assert raised.value.code == "unknown_type"


def outcome(data: bytes, dialect: Dialect) -> list[Request] | BadMessageError:
    """The requests in a frame, or the named error; any other exception is a fault."""
    try:
        return [parse_message(raw, dialect) for raw in split_frame(data, dialect)]
    except BadMessageError as error:
        return error


@pytest.mark.parametrize("kind", sorted(names.V1_IN))
def test_each_type_that_may_come_in_is_understood(kind: str) -> None:
    assert parse(kind, {"nodes": [], "edges": [], "nodeId": "n", "fromNodeId": "n", "token": "t"}).kind == kind


def test_a_token_is_not_shown_with_its_request() -> None:
    assert "sesame" not in repr(parse(names.AUTH_REFRESH, {"token": "sesame"}))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from(["id", "type", "timestamp", "workflowId", "payload", "x"]), VALUES)
PAYLOADS = st.dictionaries(
    st.sampled_from(
        [
            *("nodes", "edges", "config", "mode", "reason", "grace", "cursor", "logs", "telemetry"),
            *("nodeId", "fromNodeId", "event", "data", "token"),
        ]
    ),
    VALUES,
)


@given(FIELDS, st.sampled_from(sorted(names.V1_IN)), PAYLOADS, st.sampled_from(list(Dialect)))
def test_whatever_an_object_holds_it_is_a_request_or_a_named_error(
    fields: dict[str, Any], kind: str, payload: dict[str, Any], dialect: Dialect
) -> None:
    for message in (fields, {"id": "m", "workflowId": "wf", "type": kind, "payload": payload}):
        found = outcome(msgspec.json.encode(message), dialect)
        if isinstance(found, BadMessageError):
            assert found.code in ("bad_shape", "unknown_type", "bad_workflow_id", "invalid_json")
            assert all(item.expected and item.got for item in found.misfits)


@given(st.binary(max_size=200), st.sampled_from(list(Dialect)))
def test_whatever_bytes_come_they_are_messages_or_a_named_error(data: bytes, dialect: Dialect) -> None:
    found = outcome(data, dialect)
    if isinstance(found, BadMessageError):
        assert found.code in ("invalid_utf8", "invalid_json", "too_deep", "bad_shape", "unknown_type")
