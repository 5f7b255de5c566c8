"""Frames: headers of every size, messages grouped within limits, and the depth of JSON found without decoding it."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bridge.messages import durable
from weftline_bridge.frames import (
    Batch,
    Delivery,
    Dialect,
    Message,
    Opcode,
    array_frames,
    frame,
    frame_header,
    make_wire,
    nests_deeper_than,
    object_frames,
)
from weftline_bridge.frames.websocket import MAX_FRAME_BYTES, MAX_FRAME_MESSAGES


def unframe(data: bytes) -> list[bytes]:
    """The payloads of unmasked text frames; fails unless each header is the shortest one."""
    payloads, at = [], 0
    while at < len(data):
        assert data[at] == 0x81
        size, at = data[at + 1], at + 2
        if size == 126:
            size, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            assert size > 125
        elif size == 127:
            size, at = int.from_bytes(data[at : at + 8], "big"), at + 8
            assert size > 65535
        payloads.append(data[at : at + size])
        assert len(payloads[-1]) == size
        at += size
    return payloads


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "8100"),
        (1, "8101"),
        (125, "817d"),
        (126, "817e007e"),
        (2047, "817e07ff"),
        (2048, "817e0800"),
        (65535, "817effff"),
        (65536, "817f0000000000010000"),
        (5_000_000, "817f00000000004c4b40"),
    ],
)
def test_a_header_is_the_shortest_that_holds_the_length(length: int, header: str) -> None:
    assert frame_header(length).hex() == header
    assert unframe(frame(b"x" * length)) == [b"x" * length]


@pytest.mark.parametrize(("opcode", "first"), [(Opcode.PING, 0x89), (Opcode.PONG, 0x8A), (Opcode.CLOSE, 0x88)])
def test_control_frames_have_their_opcode(opcode: Opcode, first: int) -> None:
    assert frame(b"hi", opcode) == bytes([first, 2]) + b"hi"


@given(st.lists(st.integers(0, 70_000), max_size=12))
def test_object_frames_hold_one_message_each_in_order(sizes: list[int]) -> None:
    messages = [b"%d" % index + b"x" * size for index, size in enumerate(sizes)]
    assert unframe(object_frames(messages)) == messages


@given(st.lists(st.integers(0, 40_000), max_size=8), st.integers(0, 200))
def test_array_frames_hold_all_messages_in_order_within_both_limits(large: list[int], small: int) -> None:
    messages = [json.dumps([index, "x" * size]).encode() for index, size in enumerate([*large, *[3] * small])]
    arrays = unframe(array_frames(messages)) if messages else []
    decoded = [json.loads(array) for array in arrays]
    assert [item for array in decoded for item in array] == [json.loads(message) for message in messages]
    for raw, array in zip(arrays, decoded, strict=True):
        assert 1 <= len(array) <= MAX_FRAME_MESSAGES
        assert len(array) == 1 or len(raw) <= MAX_FRAME_BYTES + MAX_FRAME_MESSAGES + 2


@given(st.lists(st.integers(1, 100), min_size=1, max_size=300))
def test_no_array_frame_could_take_in_the_next_message(sizes: list[int]) -> None:
    messages = [b'"' + b"x" * size + b'"' for size in sizes]
    counts = [len(json.loads(array)) for array in unframe(array_frames(messages))]
    assert all(count == MAX_FRAME_MESSAGES for count in counts[:-1])


JSON = st.recursive(
    st.none() | st.integers() | st.text(string.printable + '"\\[]{}é'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\[{', max_size=3), inner, max_size=3),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@given(JSON, st.integers(0, 6), st.booleans())
def test_depth_is_found_as_decoding_finds_it(value: Any, limit: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert nests_deeper_than(text, limit) == (depth(value) > limit)


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b"[[" + b"[]," * 50 + b"[" * 65])
def test_text_that_never_closes_counts_by_what_it_opens(text: bytes) -> None:
    assert nests_deeper_than(text, 64)


@given(st.binary(max_size=300))
def test_no_text_makes_the_search_fail(text: bytes) -> None:
    assert nests_deeper_than(text + b"[" * 70, 64) in (True, False)


@pytest.mark.parametrize("text", [b'"' + b'\\"[' * 300_000, b'["' + b"[" * 300_000, b'"\\' * 300_000])
def test_brackets_in_strings_that_never_end_do_not_count(text: bytes) -> None:
    assert not nests_deeper_than(text + b"[" * 10, 64)


def test_a_batch_is_framed_once_a_dialect_however_many_ask() -> None:
    batch = Batch([durable(1), durable(2)])
    assert batch.wire(Dialect.V1) is batch.wire(Dialect.V1)
    assert batch.wire(Dialect.PLAIN) is not batch.wire(Dialect.V1)
    assert Delivery([batch]).wire(Dialect.V1) is batch.wire(Dialect.V1)


def test_a_delivery_of_several_batches_is_one_array() -> None:
    delivery = Delivery([Batch([durable(1)]), Batch([durable(2), durable(3)])])
    (array,) = unframe(delivery.wire(Dialect.V1).data)
    assert [each["seq"] for each in json.loads(array)] == [1, 2, 3]
    assert delivery.wire(Dialect.V1).types == {"node.success": 3}


def test_the_plain_dialect_leaves_out_what_it_does_not_know() -> None:
    messages = [durable(1), Message(b"{}", "stream.gap", v1_only=True)]
    assert len(unframe(make_wire(messages, Dialect.PLAIN).data)) == 1
    assert make_wire(messages[1:], Dialect.PLAIN).data == b""
    assert make_wire(messages, Dialect.V1).count == 2
