"""The ring: contiguous up to the head, within its limits, and honest about what it covers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bridge.messages import durable
from weftline_bridge.history import Ring, RingLimits


@given(
    st.lists(st.lists(st.integers(15, 60), min_size=1, max_size=5), max_size=20),
    st.integers(1, 12),
    st.integers(20, 400),
    st.integers(0, 110),
)
def test_it_holds_the_newest_within_its_limits_and_covers_just_those(
    batches: list[list[int]], events: int, size: int, cursor: int
) -> None:
    ring = Ring(RingLimits(events, size))
    head = 0
    for batch in batches:
        messages = [durable(head + 1 + index, size=length) for index, length in enumerate(batch)]
        ring.extend(messages, 0.0)
        head += len(batch)
    kept = [message.seq for message in ring.after(0)]
    assert kept == list(range(head + 1 - len(kept), head + 1))
    assert len(ring) == len(kept) <= events
    assert ring.bytes == sum(len(message.data) for message in ring.after(0)) <= size
    assert ring.covers(cursor, head) == (cursor == head or (cursor < head and cursor + 1 in kept))
    if cursor <= head and ring.covers(cursor, head):
        assert [message.seq for message in ring.after(cursor)] == list(range(cursor + 1, head + 1))


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0, 10)), max_size=12), st.floats(0, 100))
def test_it_drops_what_is_older_than_the_limit_and_nothing_else(steps: list[tuple[int, float]], rest: float) -> None:
    ring = Ring(RingLimits(age=20.0))
    now, head, born = 0.0, 0, {}
    for count, pause in steps:
        now += pause
        messages = [durable(head + 1 + index) for index in range(count)]
        ring.extend(messages, now)
        born.update({message.seq: now for message in messages})
        head += count
    now += rest
    ring.expire(now)
    assert [message.seq for message in ring.after(0)] == [seq for seq, at in born.items() if now - at <= 20.0]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 14), st.integers(1, 14), st.integers(100, 600))
def test_history_that_joins_up_is_kept_as_far_as_there_is_room(
    before: int, live: int, first: int, count: int, size: int
) -> None:
    ring = Ring(RingLimits(events=10, bytes=size))
    head = before + live
    ring.extend([durable(seq, size=50) for seq in range(before + 1, head + 1)], 0.0)
    kept = [message.seq for message in ring.after(0)]
    read = [durable(seq, size=50) for seq in range(first, first + count)]
    ring.reach_back(read, head, 0.0)
    found = [message.seq for message in ring.after(0)]
    assert found == list(range(head + 1 - len(found), head + 1))
    assert ring.bytes == 50 * len(found) == ring.bytes_after(0)
    assert len(found) <= 10
    assert ring.bytes <= size
    oldest = kept[0] if kept else head + 1
    joins_up = first < oldest <= first + count
    room = min(10, size // 50)
    assert len(found) == (min(room, head + 1 - first) if joins_up else len(kept))
    ring.extend([durable(head + 1, size=50)], 1.0)
    assert [message.seq for message in ring.after(head)] == [head + 1]


def test_history_expires_with_what_it_was_put_before() -> None:
    ring = Ring(RingLimits(age=20.0))
    ring.extend([durable(4)], 0.0)
    ring.reach_back([durable(seq) for seq in range(1, 6)], 4, 10.0)
    assert [message.seq for message in ring.after(0)] == [1, 2, 3, 4]
    ring.expire(20.5)
    assert len(ring) == 0
    ring.reach_back([durable(3), durable(4)], 4, 30.0)
    ring.expire(49.0)
    assert [message.seq for message in ring.after(0)] == [3, 4]
    ring.expire(51.0)
    assert len(ring) == 0


def test_a_part_of_it_is_at_least_one_message_and_else_within_the_bytes_asked_for() -> None:
    ring = Ring(RingLimits())
    ring.extend([durable(seq, size=100) for seq in range(1, 11)], 0.0)
    assert [message.seq for message in ring.after(3, 250)] == [4, 5]
    assert [message.seq for message in ring.after(3, 1)] == [4]
    assert ring.after(10, 1000) == []


def test_what_does_not_follow_is_refused_until_it_is_cleared() -> None:
    ring = Ring(RingLimits())
    ring.extend([durable(1)], 0.0)
    with pytest.raises(ValueError, match="seq 3 does not follow 1"):
        ring.extend([durable(3)], 0.0)
    ring.clear()
    ring.extend([durable(3)], 0.0)
    assert (len(ring), ring.bytes) == (1, 20)
    assert not ring.covers(1, 3)
