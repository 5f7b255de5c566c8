"""Facts about the fold: vectors, every legal and illegal transition, and random histories against a recount."""

import copy
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tests.unit.executor.replay.vectors import VECTORS, event_of, shown
from weftline_executor.errors import IllegalTransition
from weftline_executor.model import events as model
from weftline_executor.model.states import FINAL_STATES, LogLevel, NodeStatus, PendingReason, RunState, SkipReason
from weftline_executor.replay import RunProjection
from weftline_executor.replay.projection import KEPT_LOGS
from weftline_executor.replay.transitions import NODE_TRANSITIONS, RUN_TRANSITIONS

LEGAL = [name for name, vector in VECTORS.items() if "state" in vector]
REFUSED = [name for name, vector in VECTORS.items() if vector.get("refused")]
START = model.RunStarted(1, 1, Raw(b"{}"), 3, "ada")


def fold(events: list[model.Event]) -> RunProjection:
    """The state that events make."""
    return RunProjection.of("w", "r", events)


@pytest.mark.parametrize("name", LEGAL)
def test_a_vector_makes_the_state_that_it_says(name: str) -> None:
    vector = copy.deepcopy(VECTORS[name])
    assert shown(fold([event_of(message) for message in vector["messages"]])) == vector["state"]


@pytest.mark.parametrize("name", REFUSED)
def test_the_last_message_of_a_vector_is_refused_and_changes_nothing(name: str) -> None:
    *legal, last = [event_of(message) for message in copy.deepcopy(VECTORS[name])["messages"]]
    projection = fold(legal)
    before = shown(projection), set(projection.nodes)
    with pytest.raises(IllegalTransition):
        projection.apply(last)
    assert (shown(projection), set(projection.nodes)) == before


def test_there_are_vectors_of_both_kinds() -> None:
    assert len(LEGAL) + len(REFUSED) == len(VECTORS)
    assert len(LEGAL) >= 6
    assert len(REFUSED) >= 6


def run_event(kind: Any, seq: int, state: RunState) -> model.Event:
    """An event about a run as a whole that leads to a state."""
    if kind is model.RunCompleted:
        return model.RunCompleted(seq, seq, state, 1, 3, 0, 0, 0, Raw(b"{}"))
    if kind is model.RunFailed:
        return model.RunFailed(seq, seq, "it failed", "node_failed")
    assert kind in (model.RunPaused, model.RunResumed, model.RunStopping)
    event: model.Event = kind(seq, seq, state)
    return event


PATHS: dict[RunState, list[tuple[type[model.Event], RunState]]] = {
    RunState.RUNNING: [],
    RunState.PAUSING: [(model.RunPaused, RunState.PAUSING)],
    RunState.PAUSED: [(model.RunPaused, RunState.PAUSED)],
    RunState.STOPPING: [(model.RunStopping, RunState.STOPPING)],
    RunState.SUCCESS: [(model.RunCompleted, RunState.SUCCESS)],
    RunState.STOPPED: [(model.RunStopping, RunState.STOPPING), (model.RunCompleted, RunState.STOPPED)],
    RunState.ERROR: [(model.RunFailed, RunState.ERROR)],
}
RUN_EVENTS = (model.RunPaused, model.RunResumed, model.RunStopping, model.RunCompleted, model.RunFailed)


def run_in(state: RunState) -> RunProjection:
    """A run in this state."""
    projection = fold([START])
    for kind, target in PATHS[state]:
        projection.apply(run_event(kind, projection.seq + 1, target))
    return projection


@pytest.mark.parametrize("kind", RUN_EVENTS)
@pytest.mark.parametrize("state", RunState)
def test_a_run_changes_its_state_as_the_table_says_and_in_no_other_way(
    state: RunState, kind: type[model.Event]
) -> None:
    targets = [RunState.ERROR] if kind is model.RunFailed else list(RunState)
    for target in targets:
        projection = run_in(state)
        event = run_event(kind, projection.seq + 1, target)
        if target in RUN_TRANSITIONS.get((state, kind), ()):
            projection.apply(event)
            assert projection.state is target
            assert (projection.ended_at is not None) == (target in FINAL_STATES)
        else:
            with pytest.raises(IllegalTransition):
                projection.apply(event)
            assert projection.state is state


def test_a_final_state_has_no_way_out_but_to_be_tried_again_when_the_run_did_not_succeed() -> None:
    ways = {key: states for key, states in RUN_TRANSITIONS.items() if key[0] in FINAL_STATES}
    assert ways == {
        (RunState.ERROR, model.RunResumed): {RunState.RUNNING},
        (RunState.STOPPED, model.RunResumed): {RunState.RUNNING},
    }


def test_every_state_that_is_not_final_can_be_stopped_and_can_fail() -> None:
    for state in set(RunState) - FINAL_STATES:
        assert RunState.STOPPING in RUN_TRANSITIONS[state, model.RunStopping]
        assert RunState.ERROR in RUN_TRANSITIONS[state, model.RunFailed]


NODE_EVENTS: dict[type[model.Event], Any] = {
    model.NodePending: lambda seq: model.NodePending(seq, seq, "a", 1, PendingReason.CONCURRENCY),
    model.NodeRunning: lambda seq: model.NodeRunning(seq, seq, "a", 1),
    model.NodeSucceeded: lambda seq: model.NodeSucceeded(seq, seq, "a", 1, 5),
    model.NodeFailed: lambda seq: model.NodeFailed(seq, seq, "a", 1, 5, "it failed", "node_failed"),
    model.NodeSkipped: lambda seq: model.NodeSkipped(seq, seq, "a", SkipReason.RUN_STOPPED),
}
NODE_PATHS: dict[NodeStatus, list[type[model.Event]]] = {
    NodeStatus.PENDING: [],
    NodeStatus.RUNNING: [model.NodeRunning],
    NodeStatus.SUCCESS: [model.NodeRunning, model.NodeSucceeded],
    NodeStatus.ERROR: [model.NodeRunning, model.NodeFailed],
    NodeStatus.SKIPPED: [model.NodeSkipped],
}


@pytest.mark.parametrize("kind", NODE_EVENTS)
@pytest.mark.parametrize("status", NodeStatus)
def test_a_node_changes_its_status_as_the_table_says_and_in_no_other_way(
    status: NodeStatus, kind: type[model.Event]
) -> None:
    projection = fold([START])
    for step in NODE_PATHS[status]:
        projection.apply(NODE_EVENTS[step](projection.seq + 1))
    assert projection.node("a").status is status
    event = NODE_EVENTS[kind](projection.seq + 1)
    wanted = NODE_TRANSITIONS.get((status, kind))
    if wanted is None:
        with pytest.raises(IllegalTransition) as caught:
            projection.apply(event)
        assert (caught.value.what, caught.value.state, caught.value.event) == ("node 'a'", status, kind.__name__)
        assert projection.node("a").status is status
    else:
        projection.apply(event)
        assert projection.node("a").status is wanted


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
@pytest.mark.parametrize("kind", [*NODE_EVENTS, model.LogWritten, model.RunStarted])
def test_nothing_happens_in_a_run_that_has_ended(state: RunState, kind: type[model.Event]) -> None:
    projection = run_in(state)
    seq = projection.seq + 1
    more: dict[type[model.Event], Any] = {
        **NODE_EVENTS,
        model.LogWritten: lambda seq: model.LogWritten(seq, seq, LogLevel.INFO, "late"),
        model.RunStarted: lambda seq: model.RunStarted(seq, seq, Raw(b"{}"), 1),
    }
    with pytest.raises(IllegalTransition):
        projection.apply(more[kind](seq))
    assert (projection.seq, len(projection.logs)) == (seq - 1, 0)


def test_a_run_begins_with_its_start() -> None:
    with pytest.raises(IllegalTransition):
        fold([NODE_EVENTS[model.NodeRunning](1)])


@st.composite
def histories(draw: st.DrawFn) -> list[model.Event]:
    """Legal histories of runs of up to four nodes."""
    first = draw(st.integers(1, 1000))
    events: list[model.Event] = [model.RunStarted(first, first, Raw(b"{}"), 4)]
    projection = fold(list(events))
    for _ in range(draw(st.integers(0, 25))):
        node = draw(st.sampled_from("abcd"))
        seq = projection.seq + 1
        candidates: list[model.Event] = [
            model.NodePending(seq, seq, node, draw(st.integers(1, 3)), PendingReason.RECOVERED),
            model.NodeRunning(seq, seq, node, draw(st.integers(1, 3))),
            model.NodeSucceeded(seq, seq, node, 1, 5, Raw(b"1"), "left"),
            model.NodeFailed(seq, seq, node, 1, 5, "it failed", "node_failed"),
            model.NodeSkipped(seq, seq, node, SkipReason.UPSTREAM_FAILED),
            model.LogWritten(seq, seq, LogLevel.INFO, "line", node),
            model.RunPaused(seq, seq, draw(st.sampled_from([RunState.PAUSING, RunState.PAUSED]))),
            model.RunResumed(seq, seq, RunState.RUNNING),
        ]
        event = draw(st.sampled_from(candidates))
        try:
            projection.apply(event)
        except IllegalTransition:
            continue
        events.append(event)
    return events


def everything(projection: RunProjection) -> dict[str, object]:
    """All that a projection holds."""
    nodes = {name: {slot: getattr(state, slot) for slot in state.__slots__} for name, state in projection.nodes.items()}
    return vars(projection) | {"nodes": nodes}


@given(histories())
def test_the_counters_are_what_a_recount_gives(events: list[model.Event]) -> None:
    projection = fold(events)
    count = Counter(state.status for state in projection.nodes.values())
    assert projection.completed_nodes == count[NodeStatus.SUCCESS]
    assert projection.failed_nodes == count[NodeStatus.ERROR]
    assert projection.skipped_nodes == count[NodeStatus.SKIPPED]
    assert projection.running_nodes == count[NodeStatus.RUNNING]
    running = [name for name, state in projection.nodes.items() if state.status is NodeStatus.RUNNING]
    assert list(projection.in_flight()) == running
    assert (projection.first_seq, projection.seq) == (events[0].seq, events[-1].seq)
    assert len(projection.logs) == min(KEPT_LOGS, sum(isinstance(event, model.LogWritten) for event in events))


@given(histories(), st.data())
def test_a_fold_may_be_cut_anywhere_and_gone_on_with(events: list[model.Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(events)))
    projection = fold(events[:cut])
    for event in events[cut:]:
        projection.apply(event)
    assert everything(projection) == everything(fold(events))


@given(histories())
def test_an_event_that_comes_twice_is_refused(events: list[model.Event]) -> None:
    projection = fold(events)
    with pytest.raises(IllegalTransition):
        projection.apply(events[-1])


def test_the_first_start_of_a_node_is_kept_over_its_attempts() -> None:
    events: list[model.Event] = [
        START,
        model.NodeRunning(2, 20, "a", 1),
        model.NodePending(3, 30, "a", 2, PendingReason.RECOVERED),
        model.NodeRunning(4, 40, "a", 2),
    ]
    state = fold(events).node("a")
    assert (state.first_started_at, state.started_at, state.attempt, state.reason) == (20, 40, 2, "")


def test_progress_is_of_the_attempt_that_runs_only() -> None:
    projection = fold([START, model.NodeRunning(2, 2, "a", 2)])
    projection.apply_progress("a", 1, 0.9)
    assert projection.node("a").progress is None
    projection.apply_progress("a", 2, 0.5)
    assert projection.node("a").progress == 0.5
    projection.apply(model.NodeSucceeded(3, 3, "a", 2, 1))
    assert projection.node("a").progress is None
    projection.apply_progress("a", 2, 0.7)
    assert projection.node("a").progress is None


def test_only_the_newest_log_lines_are_kept() -> None:
    lines = [model.LogWritten(at, at, LogLevel.INFO, str(at)) for at in range(2, KEPT_LOGS + 12)]
    kept = fold([START, *lines]).logs
    assert [kept[0].message, kept[-1].message, len(kept)] == ["12", str(KEPT_LOGS + 11), KEPT_LOGS]
