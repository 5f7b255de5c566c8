"""The measuring clients count what arrives however it is cut into reads, and notice what is missing."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fanout.websocket import (
    ArrayStream,
    CountedArrayStream,
    ObjectStream,
    SocketIoStream,
    Stream,
    StreamBroken,
    client_frame,
)

JOINED = b'[{"type":"workflow.subscribed","payload":{"seq":0}}]'


def frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """A frame as a server sends it."""
    size = len(payload)
    length = bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes((0x80 | opcode,)) + length + payload


def message(seq: int, padding: int = 0) -> bytes:
    return b'{"type":"execution.log","seq":%d,"payload":{"sentUs":%d,"x":"%s"}}' % (seq, 1000 + seq, b"y" * padding)


def array(*seqs: int) -> bytes:
    return frame(b"[" + b",".join(message(seq) for seq in seqs) + b"]")


def feed(stream: Stream, data: bytes, cuts: list[int] | None = None) -> Stream:
    """Feeds the data in parts that end at the cuts."""
    stream.opened()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts or []), len(data)]
    for start, end in itertools.pairwise(edges):
        stream.feed(bytearray(data[start:end]), end - start, 5000)
    return stream


ARRAYS = [ArrayStream, CountedArrayStream]


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=10),
    st.lists(st.integers(0, 20_000), max_size=20),
    st.sampled_from(ARRAYS),
    st.booleans(),
)
def test_arrays_are_counted_wherever_the_reads_end(
    sizes: list[int], cuts: list[int], kind: Callable[[list[int] | None], Stream], looks_at_each: bool
) -> None:
    data, seq = frame(JOINED), 0
    for size in sizes:
        data += array(*range(seq + 1, seq + size + 1))
        seq += size
    samples: list[int] | None = [] if looks_at_each else None
    stream = feed(kind(samples), data, cuts)
    assert stream.joined
    assert stream.received == seq
    if samples is not None:
        assert samples == [4000 - number for number in range(1, seq + 1)]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.lists(st.integers(0, 10_000), max_size=20))
def test_single_messages_are_counted_wherever_the_reads_end(paddings: list[int], cuts: list[int]) -> None:
    data = b"".join(frame(message(seq, padding)) for seq, padding in enumerate(paddings, 1))
    assert feed(ObjectStream(None), data, cuts).received == len(paddings)


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("samples", [None, []], ids=["counting", "looking at each"])
@pytest.mark.parametrize("second", [array(4, 5), array(2, 3), array(1)], ids=["missing", "double", "again"])
def test_an_array_that_does_not_follow_the_one_before_breaks_the_stream(
    kind: Callable[[list[int] | None], Stream], samples: list[int] | None, second: bytes
) -> None:
    with pytest.raises(StreamBroken, match="came after 2"):
        feed(kind(samples), frame(JOINED) + array(1, 2) + second)


def test_an_event_that_is_missing_within_a_frame_breaks_a_stream_that_counts_all() -> None:
    with pytest.raises(StreamBroken, match="not all events from 1 to 3"):
        feed(CountedArrayStream(None), frame(JOINED) + array(1, 3))


def test_an_event_that_is_missing_breaks_a_stream_of_single_messages_that_looks_at_each() -> None:
    with pytest.raises(StreamBroken, match="event 3 came after 1"):
        feed(ObjectStream([]), frame(message(1)) + frame(message(3)))


def test_messages_without_seq_are_not_counted() -> None:
    data = frame(JOINED) + frame(b'[{"type":"heartbeat","payload":{}}]') + array(1)
    assert feed(ArrayStream(None), data).received == 1
    assert feed(ObjectStream(None), frame(b'{"type":"system.status"}') + frame(message(1))).received == 1


def test_a_close_of_the_server_breaks_the_stream_with_its_code() -> None:
    with pytest.raises(StreamBroken, match="4508 too slow"):
        feed(ObjectStream(None), frame((4508).to_bytes(2, "big") + b"too slow", 0x8))


def test_pings_are_answered_with_their_payload() -> None:
    stream = feed(ObjectStream(None), frame(b"1234", 0x9))
    assert stream.replies == [b"\x8a\x84" + bytes(4) + b"1234"]


def test_socket_io_is_joined_after_its_own_handshake_and_pings_are_answered() -> None:
    stream = feed(SocketIoStream(None), frame(b'0{"sid":"x"}'))
    assert not stream.joined
    assert stream.replies == [client_frame(b"40")]
    stream.replies.clear()
    feed(stream, frame(b'40{"sid":"y"}') + frame(b"2") + frame(b'42["event",' + message(1) + b"]"))
    assert stream.joined
    assert stream.replies == [client_frame(b"3")]
    assert stream.received == 1
