"""What a screen shows is the fold of what came."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline_cli.messages import event_message
from weftline_cli.screens.lines import line
from weftline_cli.view import RunView

NOW = make.BEGAN_MS + 5000
STATUSES = (
    ev.NODE_STATUS_PENDING,
    ev.NODE_STATUS_RUNNING,
    ev.NODE_STATUS_SUCCESS,
    ev.NODE_STATUS_ERROR,
    ev.NODE_STATUS_SKIPPED,
)
transitions = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(STATUSES)), max_size=40)


def folded(*events: ev.Event, now_ms: int = NOW) -> RunView:
    view = RunView()
    for event in events:
        view.apply(event, now_ms)
    return view


def test_a_start_brings_the_nodes_with_the_names_of_the_canvas() -> None:
    view = folded(make.started(1, "a", "b"))
    assert (view.workflow_id, view.run_id, view.total) == (make.WORKFLOW, make.RUN, 2)
    assert view.label("a") == "A"
    assert view.label("unheard-of") == "unheard-of"
    assert view.progress == 0


@given(transitions)
def test_the_counters_are_those_of_the_newest_status_of_each_node(
    changes: list[tuple[str, ev.NodeStatus.ValueType]],
) -> None:
    stream = [make.started(1, *"abcde")]
    newest: dict[str, ev.NodeStatus.ValueType] = {}
    for seq, (name, status) in enumerate(changes, 2):
        stream.append(make.node(seq, name, status))
        newest[name] = status
    view = folded(*stream)
    for status in STATUSES:
        assert view.counts[status] == list(newest.values()).count(status)
    assert set(view.running) == {name for name, status in newest.items() if status == ev.NODE_STATUS_RUNNING}
    assert view.finished == sum(status >= ev.NODE_STATUS_SUCCESS for status in newest.values())


@given(transitions, st.integers(min_value=0, max_value=40))
def test_a_snapshot_in_the_middle_leads_to_the_same_view_as_the_events_before_it(
    changes: list[tuple[str, ev.NodeStatus.ValueType]], at: int
) -> None:
    stream = [make.node(seq, name, status) for seq, (name, status) in enumerate(changes, 2)]
    whole = folded(make.started(1, *"abcde"), *stream)
    before = folded(make.started(1, *"abcde"), *stream[:at])
    resumed = RunView()
    statuses = {name: before.nodes[name].status for name in "abcde"}
    resumed.replace(make.snapshot(at + 1, statuses=statuses), NOW)
    for event in stream[at:]:
        resumed.apply(event, NOW)
    assert {name: node.status for name, node in resumed.nodes.items()} == {
        name: node.status for name, node in whole.nodes.items()
    }
    assert set(resumed.running) == set(whole.running)
    assert (resumed.total, resumed.finished) == (whole.total, whole.finished)


def test_progress_of_an_older_attempt_is_not_shown() -> None:
    view = folded(make.started(1, "a"), make.node(2, "a", ev.NODE_STATUS_RUNNING, attempt=2))
    view.apply(make.node_progress("a", 0.9, attempt=1), NOW)
    assert view.running["a"].progress is None
    view.apply(make.node_progress("a", 0.25, attempt=2), NOW)
    assert view.running["a"].progress == 0.25


def test_what_a_running_node_has_so_far_changes_nothing_on_a_screen_and_is_in_the_messages() -> None:
    view = folded(make.started(1, "a"), make.node(2, "a", ev.NODE_STATUS_RUNNING))
    view.apply(make.node_progress("a", 0.25), NOW)
    told = make.node(0, "a", ev.NODE_STATUS_RUNNING, data_json='{"text":"so far"}')
    view.apply(told, NOW)
    assert (view.running["a"].progress, view.running["a"].status) == (0.25, ev.NODE_STATUS_RUNNING)
    assert line(told, view) is None
    assert event_message(told)["payload"]["data"] == {"text": "so far"}


def test_progress_is_the_executors_word_until_success_makes_it_whole() -> None:
    view = folded(make.started(1, "a", "b"), make.run_progress(0.7, total=2))
    assert view.progress == 0.7
    view.apply(make.completed(2), NOW)
    assert view.progress == 1
    assert view.final


def test_the_time_to_go_counts_down_from_when_it_was_told() -> None:
    view = folded(make.started(1, "a"), make.run_progress(0.5, total=1, remaining_ms=4000))
    assert view.remaining_ms(NOW) == 4000
    assert view.remaining_ms(NOW + 1500) == 2500
    assert view.remaining_ms(NOW + 9000) == 0


def test_there_is_no_time_to_go_without_an_estimate_or_while_paused() -> None:
    view = folded(make.started(1, "a"), make.run_progress(0.5, total=1))
    assert view.remaining_ms(NOW) is None
    view.apply(make.run_progress(0.5, total=1, remaining_ms=1000), NOW)
    view.apply(make.event(2, workflow_pause=ev.RunStateChange(state=ev.RUN_STATE_PAUSED, reason="lunch")), NOW)
    assert view.remaining_ms(NOW) is None
    assert view.reason == "lunch"


def test_the_elapsed_time_stops_when_the_run_ends() -> None:
    view = folded(make.started(1, "a"))
    assert view.elapsed_ms(NOW) == 5000
    view.apply(make.completed(2), NOW)
    assert view.elapsed_ms(NOW + 60_000) == 2000


def test_a_failed_run_names_the_node_at_fault() -> None:
    view = folded(make.started(1, "a"), make.failed(2, "a"))
    assert view.state == ev.RUN_STATE_ERROR
    assert view.failure is not None
    assert (view.failure.node_id, view.failure.code) == ("a", "node_failed")


def test_a_new_run_of_the_workflow_replaces_the_old_one_entirely() -> None:
    view = folded(make.started(1, "a"), make.node(2, "a", ev.NODE_STATUS_RUNNING), make.failed(3, "a"))
    view.apply(make.started(4, "x", "y", run=make.NEWER_RUN), NOW)
    assert (view.run_id, view.total, set(view.nodes)) == (make.NEWER_RUN, 2, {"x", "y"})
    assert view.failure is None
    assert not view.running
    assert view.finished == 0


def test_a_run_that_is_tried_again_has_not_failed_any_more() -> None:
    view = folded(make.started(1, "a"), make.node(2, "a", ev.NODE_STATUS_ERROR), make.failed(3, "a"))
    again = ev.RunStateChange(state=ev.RUN_STATE_RUNNING, by="ada", mode="retry")
    view.apply(make.event(4, workflow_resume=again), NOW)
    assert (view.final, view.failure, view.ended_ms) == (False, None, None)


def test_late_events_of_another_run_change_nothing() -> None:
    view = folded(
        make.started(1, "a", run=make.NEWER_RUN), make.node(2, "a", ev.NODE_STATUS_ERROR), make.failed(3, "a")
    )
    assert view.state == ev.RUN_STATE_RUNNING
    assert view.finished == 0


def test_a_watch_that_begins_in_the_middle_shows_what_it_hears_of() -> None:
    view = folded(make.node(7, "late", ev.NODE_STATUS_RUNNING))
    assert view.run_id == make.RUN
    assert set(view.running) == {"late"}
    assert view.progress is None
