"""Facts about what a node sees of its run."""

import math

import pytest

from weftline_executor.nodes import Context, Secrets
from weftline_executor.nodes.context import Level
from weftline_executor.nodes.testing import RecordingSink, make_context


def test_a_context_says_which_attempt_it_is() -> None:
    ctx = Context("w", "r", "n", 2, "key", RecordingSink(), Secrets({}))
    assert (ctx.workflow_id, ctx.run_id, ctx.node_id, ctx.attempt, ctx.idempotency_key) == ("w", "r", "n", 2, "key")


@pytest.mark.parametrize("fraction", [0, 0.5, 1])
def test_progress_between_0_and_1_is_passed_on(fraction: float) -> None:
    sink = RecordingSink()
    make_context(sink).progress(fraction, "half")
    assert sink.reports == [(fraction, "half")]


def test_a_text_so_far_is_passed_on() -> None:
    sink = RecordingSink()
    ctx = make_context(sink)
    ctx.partial("so")
    ctx.partial("so far")
    assert sink.partials == ["so", "so far"]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan, math.inf])
def test_progress_outside_of_0_to_1_is_refused(fraction: float) -> None:
    sink = RecordingSink()
    with pytest.raises(ValueError, match="between 0 and 1"):
        make_context(sink).progress(fraction)
    assert sink.reports == []


def test_a_log_line_carries_its_level_and_context() -> None:
    sink = RecordingSink()
    make_context(sink).log("found", "warn", message="also", count=2)
    assert sink.lines == [("warn", "found", {"message": "also", "count": 2})]


def test_an_unknown_log_level_is_refused() -> None:
    level: Level = "loud"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="'loud'"):
        make_context(RecordingSink()).log("x", level)


def test_cancellation_is_asked_each_time() -> None:
    sink = RecordingSink()
    ctx = make_context(sink)
    before = ctx.cancelled
    sink.is_cancelled = True
    assert (before, ctx.cancelled) == (False, True)


async def test_sleep_counts_what_earlier_attempts_spent_over_all_sleeps() -> None:
    sink = RecordingSink()
    ctx = make_context(sink, already_elapsed=5.0)
    for seconds in (2.0, 2.0, 3.0, 1.0):
        await ctx.sleep(seconds)
    assert sink.sleeps == [2.0, 1.0]


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
async def test_an_impossible_sleep_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        await make_context(RecordingSink()).sleep(seconds)
