"""Facts about taking a stream of events apart: whatever its pieces, the same events come out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.nodes.builtin.sse import MAX_EVENT, EventStream, EventTooLarge

ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def taken(*pieces: bytes) -> list[str]:
    """All events of a stream that came in these pieces."""
    stream = EventStream()
    return [event for piece in pieces for event in stream.feed(piece)] + stream.close()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        ("data: a\n\ndata: b\n\n", ["a", "b"]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        ("data: a\r\rdata: b\r\r", ["a", "b"]),
        ("data:a\n\n", ["a"]),
        ("data:  a\n\n", [" a"]),
        ("data: a\ndata: b\n\n", ["a\nb"]),
        ("data\n\n", [""]),
        (": keep-alive\n\n: again\n\ndata: a\n\n", ["a"]),
        ("event: x\nid: 1\nretry: 5\ndata: a\n\n", ["a"]),
        ("event: x\n\n", []),
        ("data: a", ["a"]),
        ("data: a\n", ["a"]),
        ("data: a\r", ["a"]),
        ("\ufeffdata: a\n\n", ["a"]),
        ("data: a: b\n\n", ["a: b"]),
        ("database: a\n\n", []),
        ("\n\n\n", []),
        ("", []),
    ],
)
def test_a_stream_gives_the_data_of_its_events(stream: str, events: list[str]) -> None:
    assert taken(stream.encode()) == events
    assert taken(*(bytes([byte]) for byte in stream.encode())) == events


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1, max_size=20), max_size=5),
    ENDS,
    st.lists(st.integers(0, 200), max_size=8),
)
def test_a_stream_may_be_cut_anywhere_also_within_a_character(texts: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(f": hello{end}data: {text}{end}{end}" for text in texts).encode()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert taken(*(stream[a:b] for a, b in pairwise(edges))) == texts


@pytest.mark.parametrize("stream", [b"data: " + b"x" * MAX_EVENT, b"data: xxxxxxx\n" * (MAX_EVENT // 8)])
def test_an_event_without_end_is_refused(stream: bytes) -> None:
    with pytest.raises(EventTooLarge):
        taken(stream)


def test_a_stream_may_be_longer_than_an_event() -> None:
    stream = EventStream()
    piece = b": " + b"x" * 1000 + b"\n\ndata: " + b"y" * 1000 + b"\n\n"
    assert sum(len(stream.feed(piece)) for _ in range(3 * MAX_EVENT // len(piece))) > 1500


def test_what_is_no_utf_8_is_replaced() -> None:
    assert taken(b"data: \xff\n\n") == ["\ufffd"]
