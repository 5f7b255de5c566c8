"""Whatever a client sends in whatever shape is a request or a named error of bounded size, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weftline_bridge.errors import BadMessageError
from weftline_bridge.frames import Dialect
from weftline_bridge.protocol import names
from weftline_bridge.protocol.inbound import Request, Subscribe, parse_message, split_frame

MOST_REFUSAL = 64 * 1024

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
words = st.sampled_from(sorted(names.V1_IN | names.V1_OUT)) | st.text(max_size=12)
cursors = st.fixed_dictionaries({}, optional={"epoch": anything | st.text(max_size=200), "seq": anything})
payloads = st.fixed_dictionaries(
    {},
    optional={
        "cursor": cursors | anything,
        "telemetry": anything,
        "logs": anything | st.sampled_from(["debug", "warn"]),
        "catchUp": anything | st.sampled_from(["events", "smallest"]),
        "nodes": anything,
        "edges": anything,
        "mode": anything,
        "grace": anything,
        "data": anything,
        "event": anything,
        "nodeId": anything,
        "token": anything,
        "serverTime": anything,
    },
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "id": anything | st.just("m"),
        "type": words | anything,
        "timestamp": anything,
        "workflowId": st.sampled_from(["wf", "*", "", "a b"]) | anything,
        "payload": payloads | anything,
    },
)
dialects = st.sampled_from(list(Dialect))


def taken(data: bytes, dialect: Dialect) -> list[Request | BadMessageError]:
    """What becomes of a frame."""
    try:
        items = split_frame(data, dialect)
    except BadMessageError as error:
        return [error]
    found: list[Request | BadMessageError] = []
    for raw in items:
        try:
            found.append(parse_message(raw, dialect))
        except BadMessageError as error:
            found.append(error)
    return found


def check(found: list[Request | BadMessageError]) -> None:
    """Each is a request, or an error with a name, a sentence and places, all of bounded size."""
    assert found
    for each in found:
        if isinstance(each, BadMessageError):
            assert each.code.isidentifier()
            said = each.message + "".join(misfit.path + misfit.expected + misfit.got for misfit in each.misfits)
            assert 0 < len(said) < MOST_REFUSAL
        elif isinstance(each, Subscribe) and each.cursor is not None:
            assert 0 < len(each.cursor.epoch) <= 128
            assert each.cursor.seq >= 0


@given(st.one_of(messages, st.lists(messages, max_size=5), anything), dialects)
def test_any_json_is_a_request_or_a_named_error(message: Any, dialect: Dialect) -> None:
    check(taken(json.dumps(message).encode(), dialect))


@given(messages, dialects, st.data())
def test_any_damaged_frame_is_a_request_or_a_named_error(message: Any, dialect: Dialect, data: st.DataObject) -> None:
    frame = bytearray(json.dumps(message).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not frame:
            break
    check(taken(bytes(frame), dialect))


@given(st.binary(max_size=300), dialects)
def test_any_bytes_are_a_request_or_a_named_error(frame: bytes, dialect: Dialect) -> None:
    check(taken(frame, dialect))


@given(cursors | anything)
def test_any_cursor_is_one_or_a_named_error(cursor: Any) -> None:
    message = {"id": "m", "type": names.WORKFLOW_SUBSCRIBE, "workflowId": "wf", "payload": {"cursor": cursor}}
    check(taken(json.dumps(message).encode(), Dialect.V1))
