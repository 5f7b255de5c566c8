"""Facts about fanning out: what is encoded by hand is what protobuf would encode, and queues are bounded."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.api import tail as module
from weftline_executor.api.tail import (
    EVENTS_AT_ONCE,
    MAX_ITEM_BYTES,
    MAX_QUEUED_TELEMETRY,
    Item,
    Tail,
    Watcher,
    varint,
)
from weftline_executor.api.translate import durable_event, durable_events
from weftline_executor.model import events as model
from weftline_executor.model.records import Batch
from weftline_executor.model.states import LogLevel, PendingReason, RunState, SkipReason

NUMBERS = st.integers(0, (1 << 53) - 1)
SMALL = st.integers(0, (1 << 31) - 1)
TEXT = st.text('ab\n"\\ä✓😀', max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXT, lambda inner: st.lists(inner, max_size=3)
).map(lambda value: Raw(msgspec.json.encode(value)))
NAMES = st.text("abc-ä✓", min_size=1, max_size=8)


def events(seq: int) -> st.SearchStrategy[model.Event]:
    """Any event with this seq."""
    at: dict[str, Any] = {"seq": st.just(seq), "at": NUMBERS}
    node: dict[str, Any] = {**at, "node": NAMES, "attempt": SMALL}
    change: dict[str, Any] = {
        **at,
        "by": TEXT,
        "in_flight": st.lists(NAMES, max_size=3).map(tuple),
        "mode": TEXT,
        "reason": TEXT,
        "state": st.sampled_from(RunState),
    }
    counts: dict[str, Any] = {f"{name}_nodes": SMALL for name in ("total", "completed", "failed", "skipped")}
    return st.one_of(
        st.builds(model.RunStarted, **at, definition=JSON, total_nodes=SMALL, by=TEXT),
        *(st.builds(kind, **change) for kind in (model.RunPaused, model.RunResumed, model.RunStopping)),
        st.builds(model.NodePending, **node, reason=st.sampled_from(PendingReason)),
        st.builds(model.NodeRunning, **node),
        st.builds(model.NodeSucceeded, **node, duration=NUMBERS, output=JSON | st.just(model.NO_JSON), handle=TEXT),
        st.builds(model.NodeFailed, **node, duration=NUMBERS, error=TEXT, code=TEXT, details=JSON),
        st.builds(model.NodeSkipped, **at, node=NAMES, reason=st.sampled_from(SkipReason)),
        st.builds(model.LogWritten, **at, level=st.sampled_from(LogLevel), message=TEXT, node=TEXT, context=JSON),
        st.builds(model.RunCompleted, **at, status=st.sampled_from(RunState), duration=NUMBERS, **counts, outputs=JSON),
        st.builds(model.RunFailed, **at, error=TEXT, code=TEXT, node=TEXT, details=JSON),
    )


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any batch."""
    first = draw(st.integers(1, 10**12))
    found = tuple(draw(events(first + at)) for at in range(draw(st.integers(1, 5))))
    return Batch(draw(NAMES), draw(NAMES), found, commit=draw(st.integers(1, 10**12)))


@given(st.integers(0, (1 << 63) - 1))
def test_a_varint_is_what_protobuf_reads(value: int) -> None:
    # Field 6 (`commit`) of a response, as a varint.
    assert pb.WatchEventsResponse.FromString(b"\x30" + varint(value)).commit == value
    if value:
        assert pb.WatchEventsResponse(commit=value).SerializeToString() == b"\x30" + varint(value)


@settings(max_examples=50)
@given(batches())
def test_encoded_events_are_what_protobuf_would_encode(batch: Batch) -> None:
    messages = [durable_event(batch.workflow_id, batch.run_id, event) for event in batch.events]
    (item,) = Item.all_of(batch)
    assert item.payload == pb.WatchEventsResponse(events=messages).SerializeToString()
    assert (item.commit, item.last_seq, item.count) == (batch.commit, batch.last_seq, len(batch.events))
    assert item.ends_batch


@settings(max_examples=15)
@given(st.lists(batches(), min_size=1, max_size=3))
def test_encoded_batches_may_be_put_together(found: list[Batch]) -> None:
    joined = b"".join(item.payload for each in found for item in Item.all_of(each))
    expected = [durable_event(b.workflow_id, b.run_id, event) for b in found for event in b.events]
    assert list(pb.WatchEventsResponse.FromString(joined).events) == expected


def batch(first: int, commit: int, *, workflow_id: str = "w", size: int = 1) -> Batch:
    """A batch of one log line."""
    line = model.LogWritten(first, 7, LogLevel.INFO, "x" * size)
    return Batch(workflow_id, "r", (line,), commit=commit)


def drain(watcher: Watcher) -> list[Item]:
    """All that is queued."""
    found = []
    while (item := watcher.pop()) is not None:
        found.append(item)
    return found


@given(st.lists(st.sampled_from([1, 1000, MAX_ITEM_BYTES // 2, 2 * MAX_ITEM_BYTES]), min_size=1, max_size=8))
@settings(max_examples=40)
def test_a_large_batch_is_cut_into_items_that_fit_with_one_event_at_least(sizes: list[int]) -> None:
    lines = tuple(model.LogWritten(at, 7, LogLevel.INFO, "x" * size) for at, size in enumerate(sizes, 1))
    items = Item.all_of(Batch("w", "r", lines, commit=3))
    read = [pb.WatchEventsResponse.FromString(item.payload).events for item in items]
    assert [event.seq for events in read for event in events] == list(range(1, len(sizes) + 1))
    assert [item.last_seq for item in items] == [events[-1].seq for events in read]
    assert [item.count for item in items] == [len(events) for events in read]
    assert [item.ends_batch for item in items] == [False] * (len(items) - 1) + [True]
    for events in read:
        assert sum(event.ByteSize() for event in events[:-1]) < MAX_ITEM_BYTES


def test_a_batch_of_many_events_is_cut_too_so_that_few_are_held_as_messages_at_once() -> None:
    many = tuple(model.NodeRunning(seq, 7, "n", 1) for seq in range(1, 2 * EVENTS_AT_ONCE + 2))
    items = Item.all_of(Batch("w", "r", many, commit=3))
    assert [item.last_seq for item in items] == [EVENTS_AT_ONCE, 2 * EVENTS_AT_ONCE, 2 * EVENTS_AT_ONCE + 1]
    assert [item.count for item in items] == [EVENTS_AT_ONCE, EVENTS_AT_ONCE, 1]
    assert [item.ends_batch for item in items] == [False, False, True]
    joined = b"".join(item.payload for item in items)
    assert [event.seq for event in pb.WatchEventsResponse.FromString(joined).events] == [each.seq for each in many]


def test_nothing_is_no_item() -> None:
    assert Item.all_of(Batch("w", "r", ())) == []


def test_a_watch_gets_what_is_its_own_and_a_watch_of_all_gets_everything() -> None:
    tail = Tail(0)
    one, everything, other = (tail.open(name, telemetry=False) for name in ("a", "", "c"))
    tail.committed([batch(1, 1, workflow_id="a"), batch(1, 2, workflow_id="b")])
    assert [item.commit for item in drain(one)] == [1]
    assert [item.commit for item in drain(everything)] == [1, 2]
    assert drain(other) == []
    assert tail.last_commit == 2


def test_a_watch_that_was_released_gets_nothing_more_and_leaves_nothing() -> None:
    tail = Tail(0)
    watcher = tail.open("w", telemetry=True)
    tail.release(watcher)
    tail.committed([batch(1, 1)])
    assert drain(watcher) == []
    assert tail._by_workflow == {}


def test_a_batch_is_encoded_once_whatever_the_number_of_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[model.Event] = []

    def counted(workflow_id: str, run_id: str, events: Sequence[model.Event]) -> pb.WatchEventsResponse:
        calls.extend(events)
        return durable_events(workflow_id, run_id, events)

    monkeypatch.setattr(module, "durable_events", counted)
    tail = Tail(0)
    watchers = [tail.open("w", telemetry=False) for _ in range(50)] + [tail.open("", telemetry=False)]
    tail.committed([batch(1, 1)])
    assert len(calls) == 1
    assert len({id(item.payload) for watcher in watchers for item in drain(watcher)}) == 1
    tail.committed([batch(1, 2, workflow_id="nobody's")])
    assert len(calls) == 2
    tail.release(watchers[-1])
    tail.committed([batch(2, 3, workflow_id="nobody's")])
    assert len(calls) == 2


def test_a_queue_over_its_bound_is_let_go_and_lags_until_it_begins_anew() -> None:
    tail = Tail(0)
    watcher = tail.open("w", telemetry=True)
    tail.committed([batch(at, at, size=module.MAX_QUEUED_BYTES // 3) for at in (1, 2)])
    assert not watcher.lagged
    tail.committed([batch(3, 3, size=module.MAX_QUEUED_BYTES // 2), batch(4, 4)])
    assert watcher.lagged
    assert drain(watcher) == []
    watcher.restart()
    tail.committed([batch(5, 5)])
    assert [item.last_seq for item in drain(watcher)] == [5]


def test_what_was_read_from_a_queue_does_not_count_towards_its_bound() -> None:
    tail = Tail(0)
    watcher = tail.open("w", telemetry=False)
    for at in range(1, 20):
        tail.committed([batch(at, at, size=module.MAX_QUEUED_BYTES // 2)])
        assert len(drain(watcher)) == 1
    assert not watcher.lagged


def progressed(node: str, progress: float) -> model.NodeProgressed:
    """Telemetry of a node."""
    return model.NodeProgressed(1, node, 1, progress)


def test_of_telemetry_only_the_newest_of_each_node_and_run_is_kept() -> None:
    tail = Tail(0)
    watcher, without = tail.open("w", telemetry=True), tail.open("w", telemetry=False)
    everything = tail.open("", telemetry=True)
    for at in range(1000):
        for node in "ab":
            tail.telemetry("w", "r", progressed(node, at / 1000))
        tail.telemetry("w", "r", model.RunProgressed(1, 9, at, 0, 0, 0, "", 0.0, None))
    for queue in (watcher, everything):
        found = pb.WatchEventsResponse.FromString(b"".join(item.payload for item in drain(queue))).events
        assert [(event.node.node_id, event.node.progress) for event in found[:2]] == [("a", 0.999), ("b", 0.999)]
        assert found[2].progress.completed_nodes == 999
        assert len(found) == 3
    assert drain(without) == []
    tail.telemetry("w", "r", progressed("a", 0.5))
    assert len(drain(watcher)) == 1


def test_telemetry_that_waits_is_bounded_and_says_the_newest_again_once_it_is_read() -> None:
    tail = Tail(0)
    watcher = tail.open("w", telemetry=True)
    partial = Raw(b'{"text":"%s"}' % (b"x" * 4000))
    for at in range(2000):
        tail.telemetry("w", "r", model.NodeProgressed(1, f"n{at}", 1, None, partial))
    waiting = drain(watcher)
    assert MAX_QUEUED_TELEMETRY - 5000 < sum(len(item.payload) for item in waiting) <= MAX_QUEUED_TELEMETRY
    tail.telemetry("w", "r", progressed("n1999", 0.5))
    assert len(drain(watcher)) == 1


def test_telemetry_ids_differ_and_have_no_seq() -> None:
    tail = Tail(0)
    watcher = tail.open("w", telemetry=True)
    for node in "abc":
        tail.telemetry("w", "r", progressed(node, 0.5))
    found = [pb.WatchEventsResponse.FromString(item.payload).events[0] for item in drain(watcher)]
    assert len({event.id for event in found}) == 3
    assert {event.seq for event in found} == {0}


async def test_a_waiting_watch_is_woken_by_events_and_by_the_end() -> None:
    tail = Tail(0)
    watcher = tail.open("w", telemetry=False)
    assert not await watcher.wait(0.001)
    tail.committed([batch(1, 1)])
    assert await watcher.wait(10)
    assert not await watcher.wait(0.001)
    tail.close()
    assert await watcher.wait(10)
    assert watcher.closed
