"""What a `traceparent` says, and the ids that follow from what a span is of."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weftline_executor.tracing.context import (
    TraceContext,
    attempt_span_id,
    attempt_traceparent,
    chosen,
    parse_traceparent,
    recorded_trace,
    run_span_id,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def hexadecimal(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length).filter(lambda text: text.strip("0"))


contexts = st.builds(TraceContext, hexadecimal(32), hexadecimal(16), st.booleans())


@given(contexts)
def test_what_is_written_is_read_again(context: TraceContext) -> None:
    assert parse_traceparent(context.traceparent) == context


@given(st.one_of(st.text(max_size=300), st.text(string.hexdigits + "-", min_size=50, max_size=60)))
@example(f"ff-{TRACE}-{SPAN}-01")
@example(f"00-{'0' * 32}-{SPAN}-01")
@example(f"00-{TRACE}-{'0' * 16}-01")
@example(f"00-{TRACE}-{SPAN}-01-more")
@example(f"00-{TRACE.upper()}-{SPAN}-01")
@example(f"00-{TRACE}-{SPAN}-01\n")
@example(f"cc-{TRACE}-{SPAN}-01-{'x' * 300}")
def test_what_is_none_is_none_and_raises_nothing(text: str) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.parametrize("text", [f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-03-what-the-future-adds"])
def test_a_later_version_is_read_as_far_as_it_is_known(text: str) -> None:
    assert parse_traceparent(text) == TraceContext(TRACE, SPAN, True)


@given(st.text(), st.text(), st.integers(1, 99))
def test_the_ids_of_spans_are_the_same_whenever_they_are_asked_for(run: str, node: str, number: int) -> None:
    ids = [run_span_id(run, number), attempt_span_id(run, node, number)]
    assert ids == [run_span_id(run, number), attempt_span_id(run, node, number)]
    assert all(parse_traceparent(f"00-{TRACE}-{each}-01") for each in ids)
    assert len({*ids, run_span_id(run, number + 1), attempt_span_id(run, node, number + 1)}) == 4


def test_an_attempt_passes_on_whether_its_trace_is_recorded_and_nothing_without_a_trace() -> None:
    span = attempt_span_id("r", "n", 2)
    assert attempt_traceparent(f"00-{TRACE}-{SPAN}-01", "r", "n", 2) == f"00-{TRACE}-{span}-01"
    assert attempt_traceparent(f"00-{TRACE}-{SPAN}-00", "r", "n", 2) == f"00-{TRACE}-{span}-00"
    assert attempt_traceparent("", "r", "n", 2) == ""


def test_only_a_trace_that_is_recorded_is_named() -> None:
    assert recorded_trace(f"00-{TRACE}-{SPAN}-01") == TRACE
    assert recorded_trace(f"00-{TRACE}-{SPAN}-00") == ""
    assert recorded_trace("") == ""


@given(hexadecimal(32), st.floats(0, 1))
def test_what_is_chosen_at_a_ratio_is_chosen_at_every_larger_one(trace_id: str, ratio: float) -> None:
    assert chosen(trace_id, 1.0)
    assert not chosen(trace_id, 0.0)
    assert chosen(trace_id, min(1.0, ratio * 2)) or not chosen(trace_id, ratio)


def test_the_choice_is_that_of_opentelemetrys_sampler() -> None:
    assert chosen(f"{'f' * 16}{'7' + 'f' * 15}", 0.5)
    assert not chosen(f"{'0' * 16}{'8' + '0' * 15}", 0.5)
