"""The flight recorder: nothing that it claims to know is wrong, and it stays within its bounds."""

from __future__ import annotations

import gc
import sys

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.bridge.messages import durable, telemetry
from weftline_bridge.frames import About, Batch, Delivery, Dialect, Message, Moment, Span, make_wire, spans_of
from weftline_bridge.recorder import Kind, Record, Recorder, RecorderLimits, Tape, Trace
from weftline_bridge.recorder.trace import MAX_RECORDS

KIB = 1024


def gap(first: int, last: int) -> Message:
    return Message(b"{}", "stream.gap", "wf", about=About("gap", first, last, "filtered"))


def footprint(root: object) -> int:
    """The bytes of an object and of all that only it could hold, strings and numbers among them."""
    seen: set[int] = set()
    waiting, size = [root], 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type):
            continue
        seen.add(id(each))
        size += sys.getsizeof(each)
        waiting += gc.get_referents(each)
    return size


def seqs_of(records: tuple[Record, ...], workflow_id: str) -> list[int]:
    return [
        seq
        for record in records
        if record.kind == Kind.EVENTS and record.workflow_id == workflow_id
        for seq in range(record.first, record.last + 1)
    ]


def test_events_that_follow_one_another_are_one_span_and_telemetry_is_counted() -> None:
    messages = [durable(4), telemetry("a", 0.5), durable(5), gap(6, 8), durable(9), durable(1, workflow_id="other")]
    assert [(span.kind, span.workflow_id, span.first, span.last) for span in spans_of(messages)] == [
        (Kind.EVENTS, "wf", 4, 5),
        (Kind.GAP, "wf", 6, 8),
        (Kind.EVENTS, "wf", 9, 9),
        (Kind.EVENTS, "other", 1, 1),
        (Kind.TELEMETRY, "wf", 0, 0),
    ]


def test_a_delivery_to_many_is_kept_once() -> None:
    ticks = iter(range(1, 100))
    traces = [Trace(0), Trace(0)]
    delivery = Delivery([Batch([durable(1)])])
    wire = delivery.wire(Dialect.V1)
    for trace in traces:
        Tape(trace, lambda: next(ticks)).took(delivery, wire, Dialect.V1)
    assert [trace.records()[0].at for trace in traces] == [1, 1]


def test_writes_close_together_are_one_record_and_later_ones_another() -> None:
    trace = Trace(0)
    for at, seq in ((0, 1), (500, 2), (1000, 3), (1001, 4)):
        trace.append(Moment(at, spans_of([durable(seq)])))
    assert [(each.at, each.until, each.first, each.last) for each in trace.records()] == [
        (0, 1000, 1, 3),
        (1001, 1001, 4, 4),
    ]


def test_the_round_trips_are_one_record_with_the_shortest_and_the_longest() -> None:
    trace, tape = Trace(0), None
    tape = Tape(trace, lambda: 7)
    for rtt in (0.002, 0.001, 0.004):
        tape.measured(rtt)
    (record,) = trace.records()
    assert (record.kind, record.first, record.last, record.times) == (Kind.RTT, 1000, 4000, 3)


writes = st.lists(
    st.tuples(st.integers(0, 3000), st.sampled_from("abc"), st.integers(1, 5), st.booleans()), max_size=400
)


@given(writes)
def test_what_is_kept_was_written_and_all_that_was_written_lately_is_kept(
    steps: list[tuple[int, str, int, bool]],
) -> None:
    trace = Trace(0)
    now, heads = 0, {"a": 0, "b": 0, "c": 0}
    written: list[tuple[int, str, int]] = []
    for wait, name, number, interrupted in steps:
        now += wait
        first = heads[name] + 1
        heads[name] += number
        trace.append(Moment(now, (Span(Kind.EVENTS, name, first, heads[name], number, 10),)))
        written += [(now, name, seq) for seq in range(first, heads[name] + 1)]
        if interrupted:
            trace.note(now, Kind.MODE, word="held")
    records = trace.records()
    assert len(records) <= MAX_RECORDS
    for name, head in heads.items():
        kept = seqs_of(records, name)
        assert kept == sorted(set(kept))
        assert all(1 <= seq <= head for seq in kept)
    for at, name, seq in written:
        holds = [
            each
            for each in records
            if each.kind == Kind.EVENTS and each.workflow_id == name and each.first <= seq <= each.last
        ]
        assert all(each.at <= at <= each.until for each in holds)
        if at > trace.complete_since:
            assert holds


def test_one_steady_workflow_is_remembered_from_its_beginning() -> None:
    trace = Trace(0)
    for seq in range(1, 20_001):
        trace.append(Moment(seq * 700, (Span(Kind.EVENTS, "wf", seq, seq, 1, 100),)))
    assert trace.complete_since == 0
    assert seqs_of(trace.records(), "wf") == list(range(1, 20_001))


def test_that_a_connection_subscribed_is_remembered_longer_than_what_it_got() -> None:
    trace = Trace(0)
    trace.note(1, Kind.SUBSCRIBED, "wf", word="resumed")
    for n in range(1000):
        trace.append(Moment(n * 2000, (Span(Kind.EVENTS, f"other-{n}", 1, 1, 1, 10),)))
    records = trace.records()
    assert trace.complete_since > 0
    assert [each.workflow_id for each in records if each.kind == Kind.SUBSCRIBED] == ["wf"]


def test_an_idle_connection_costs_two_kib_at_most() -> None:
    recorder = Recorder(RecorderLimits())
    trace = recorder.connection_opened("c", "v1", "127.0.0.1", 1_795_341_688_000)
    assert trace is not None
    for n in range(100):
        at = 1_795_341_688_000 + n * 25_000
        trace.append(Moment(at, (Span(Kind.TELEMETRY, "", 0, 0, 1, 180),)))
        trace.note(at, Kind.RTT, first=900 + n, last=900 + n)
    assert footprint(trace) <= 2 * KIB


def test_a_busy_connection_costs_32_kib_at_most() -> None:
    trace = Trace(0)
    for n in range(5000):
        at = 1_795_341_688_000 + n * 5000
        name = "x" * 120 + str(n % 100)
        spans = tuple(
            Span(Kind.EVENTS, name, 10_000 + n * 7 + k * 2, 10_000 + n * 7 + k * 2, 1, 70_000) for k in range(3)
        )
        trace.append(Moment(at, spans))
        assert n % 50 or footprint(trace) <= 32 * KIB


def test_what_ended_is_kept_for_a_while_and_not_too_many_of_it() -> None:
    recorder = Recorder(RecorderLimits(keep_ms=1000, closed=2))
    for name in "abc":
        recorder.connection_opened(name, "v1", "", 0)
        recorder.connection_closed(name, 1000, "anonymous", 10)
    assert recorder.connection("a") is None
    kept = recorder.connection("b")
    assert kept is not None
    assert (kept.closed_at, kept.close_code) == (10, 1000)
    recorder.expire(1009)
    assert recorder.connection("b") is not None
    recorder.expire(1010)
    assert recorder.connection("b") is None


def test_a_workflow_that_is_followed_again_goes_on_with_its_record() -> None:
    recorder = Recorder(RecorderLimits())
    first = recorder.workflow_followed("wf", 0)
    recorder.workflow_released("wf", 5)
    assert recorder.workflow_followed("wf", 9) is first


def test_nothing_is_recorded_where_it_is_off() -> None:
    recorder = Recorder(RecorderLimits(enabled=False))
    assert recorder.connection_opened("c", "v1", "", 0) is None
    assert recorder.workflow_followed("wf", 0) is None
    tape = Tape(None, lambda: 0)
    tape.wrote(make_wire([durable(1)], Dialect.V1))
    tape.measured(0.1)
    assert recorder.connection("c") is None
