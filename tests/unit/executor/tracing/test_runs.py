"""The spans that a run's events come to, whatever part of them a life of the executor sees."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from weftline_executor.model.events import (
    Event,
    LogWritten,
    NodeFailed,
    NodePending,
    NodeRunning,
    NodeSkipped,
    NodeSucceeded,
    RunCompleted,
    RunFailed,
    RunPaused,
    RunResumed,
    RunStarted,
)
from weftline_executor.model.states import Handling, LogLevel, PendingReason, RunState, SkipReason
from weftline_executor.replay import RunProjection
from weftline_executor.tracing import Span
from weftline_executor.tracing.runs import MAX_EVENTS, MAX_MESSAGE, RunSpans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOTHING = Raw(b"{}")


def started(trace: str = PARENT) -> Event:
    return RunStarted(1, 1_000, NOTHING, 3, trace=trace)


LIFE: Sequence[Event] = (
    started(),
    NodeRunning(2, 1_010, "a", 1),
    NodeFailed(3, 1_020, "a", 1, 10, "no", "no_luck", handled=Handling.RETRY),
    NodePending(4, 1_020, "a", 2, PendingReason.RETRY, 1_030),
    NodeRunning(5, 1_030, "a", 2),
    LogWritten(6, 1_031, LogLevel.ERROR, "oh", "a"),
    NodePending(7, 1_040, "a", 2, PendingReason.APPROVAL, 0, NOTHING),
    RunPaused(8, 1_050, RunState.PAUSED, mode="drain"),
    RunResumed(9, 1_060, RunState.RUNNING),
    NodeSucceeded(10, 1_070, "a", 2, 40),
    NodeRunning(11, 1_071, "b", 1),
    NodePending(12, 1_072, "b", 2, PendingReason.RECOVERED),
    NodePending(13, 1_072, "b", 2, PendingReason.CONCURRENCY),
    NodeRunning(14, 1_080, "b", 2),
    NodeSucceeded(15, 1_090, "b", 2, 10),
    NodeSkipped(16, 1_091, "c", SkipReason.BRANCH_NOT_TAKEN),
    RunCompleted(17, 1_100, RunState.SUCCESS, 100, 3, 2, 0, 1, NOTHING),
)


def spans_of(events: Sequence[Event], lives: Sequence[int] = ()) -> list[Span]:
    """The spans of the events of a run in which the executor died before the events at these places."""
    projection = RunProjection("w", "r")
    spans = RunSpans(projection, lambda node_id: f"type-{node_id}")
    ended: list[Span] = []
    for place, event in enumerate(events):
        if place in lives:
            spans = RunSpans(projection, lambda node_id: f"type-{node_id}")
        ended += spans.take([event])
        projection.apply(event)
    return ended


def test_each_attempt_and_the_run_are_spans() -> None:
    spans = spans_of(LIFE)
    assert [(span.name, span.begun, span.ended, span.failed) for span in spans] == [
        ("node type-a", 1_010, 1_020, "no_luck"),
        ("node type-a", 1_030, 1_070, ""),
        ("node type-b", 1_071, 1_072, ""),
        ("node type-b", 1_080, 1_090, ""),
        ("workflow.run", 1_000, 1_100, ""),
    ]
    *attempts, run = spans
    assert {span.parent for span in attempts} == {run.context}
    assert run.parent is not None
    assert run.parent.traceparent == PARENT
    assert len({span.context for span in spans}) == 5
    assert [event.name for event in attempts[1].events] == ["log", "waiting"]
    assert [event.name for event in run.events] == ["state", "state"]


@given(st.sets(st.integers(1, len(LIFE) - 1)))
def test_deaths_of_the_executor_change_no_id_and_no_time_of_a_span(lives: set[int]) -> None:
    def bones(spans: list[Span]) -> list[tuple[object, ...]]:
        return [(span.context, span.parent, span.begun, span.ended, span.attributes, span.failed) for span in spans]

    assert bones(spans_of(LIFE, sorted(lives))) == bones(spans_of(LIFE))


def test_a_retry_of_the_whole_run_is_a_span_of_its_own_also_in_another_life() -> None:
    again: Sequence[Event] = (
        *LIFE[:-1],
        RunFailed(17, 1_100, "no", "no_luck", "b"),
        RunResumed(18, 2_000, RunState.RUNNING, mode="retry"),
        NodePending(19, 2_000, "c", 1, PendingReason.RESET),
        NodeRunning(20, 2_010, "c", 1),
        NodeSucceeded(21, 2_020, "c", 1, 10),
        RunCompleted(22, 2_030, RunState.SUCCESS, 1_030, 3, 3, 0, 0, NOTHING),
    )
    for lives in ([], [17], [18], [20, 21]):
        *_, first, attempt, second = spans_of(again, lives)
        assert (first.begun, first.ended) == (1_000, 1_100)
        assert (second.begun, second.ended) == (2_000, 2_030)
        assert first.context != second.context
        assert first.parent == second.parent
        assert attempt.parent == second.context


def test_a_run_without_a_trace_or_with_one_that_is_not_recorded_has_no_spans() -> None:
    assert spans_of([started(""), *LIFE[1:]], [5]) == []
    assert spans_of([started(PARENT[:-1] + "0"), *LIFE[1:]], [5]) == []


def test_what_a_node_says_is_bounded() -> None:
    said = [LogWritten(3 + n, 1_011, LogLevel.WARN, "x" * 10_000, "a") for n in range(MAX_EVENTS * 2)]
    quiet = LogWritten(3 + len(said), 1_012, LogLevel.INFO, "y", "a")
    (attempt,) = spans_of([*LIFE[:2], *said, quiet, NodeSucceeded(4 + len(said), 1_020, "a", 1, 10)])
    assert len(attempt.events) == MAX_EVENTS
    assert {len(str(event.attributes["weftline.message"])) for event in attempt.events} == {MAX_MESSAGE}
