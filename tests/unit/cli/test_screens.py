"""A screen shows what a person needs, in words that point at the node."""

import io

import pytest
from rich.console import Console

from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline_cli.screens.lines import advice_on, line, line_of_any
from weftline_cli.screens.live import MAX_RUNNING, drawing
from weftline_cli.screens.plain import PlainScreen
from weftline_cli.screens.summary import MAX_FAILED_NODES, summary_lines
from weftline_cli.tables import run_lines
from weftline_cli.view import RunView

NOW = make.BEGAN_MS + 1000


def viewed(*events: ev.Event) -> RunView:
    view = RunView()
    for event in events:
        view.apply(event, NOW)
    return view


def rendered(view: RunView, *, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, no_color=True)
    with console.capture() as captured:
        console.print(drawing(view, NOW))
    return captured.get()


def said(event: ev.Event, view: RunView) -> str:
    found = line(event, view)
    assert found is not None
    return found.plain


def test_an_error_names_the_node_its_attempt_the_sentence_and_the_code() -> None:
    view = viewed(make.started(1, "fetch"))
    error = make.node(2, "fetch", ev.NODE_STATUS_ERROR, after_ms=340, attempt=2, error="no\nroute", error_code="x")
    assert said(error, view) == "   +340 ms  error      FETCH (fetch)  attempt 2  no route [x]"


def test_a_command_names_who_gave_it_and_why() -> None:
    change = ev.RunStateChange(state=ev.RUN_STATE_PAUSING, by="ada", reason="lunch", in_flight=["a", "b"])
    assert said(make.event(2, workflow_pause=change), viewed(make.started(1, "a"))).endswith(
        "pausing    run  by ada: lunch, 2 nodes in flight"
    )


def test_telemetry_has_no_line() -> None:
    view = viewed(make.started(1, "a"))
    assert line(make.node_progress("a", 0.5), view) is None
    assert line(make.run_progress(0.5, total=1), view) is None
    assert line_of_any(make.run_progress(0.5, total=1)) is None


def test_escapes_and_markup_in_what_a_node_says_are_harmless() -> None:
    hostile = make.log(2, "\x1b[2J[red]boo[/red]", "a")
    assert said(hostile, viewed(make.started(1, "a"))).endswith("�[2J[red]boo[/red]")


def test_the_drawing_shows_the_way_the_time_to_go_and_each_running_node() -> None:
    view = viewed(
        make.started(1, "a", "b"),
        make.node(2, "a", ev.NODE_STATUS_RUNNING, attempt=3),
        make.node_progress("a", 0.4, attempt=3),
        make.run_progress(0.25, total=2, remaining_ms=2500),
    )
    drawn = rendered(view)
    for shown in ("demo", "running", "25%", "1.0 s, ETA 2.5 s", "0 of 2 nodes succeeded", "A (a)", "40%", "attempt 3"):
        assert shown in drawn


def test_the_drawing_stays_small_whatever_runs() -> None:
    names = [f"n{at}" for at in range(100)]
    running = [make.node(at, name, ev.NODE_STATUS_RUNNING) for at, name in enumerate(names, 2)]
    drawn = rendered(viewed(make.started(1, *names), *running))
    assert f"… and {100 - MAX_RUNNING} more running nodes" in drawn
    assert len(drawn.splitlines()) == MAX_RUNNING + 3


def test_the_drawing_says_why_a_run_is_paused() -> None:
    change = ev.RunStateChange(state=ev.RUN_STATE_PAUSED, reason="unknown_outcome")
    assert "unknown_outcome" in rendered(viewed(make.started(1, "a"), make.event(2, workflow_pause=change)))


def test_the_summary_names_tolerated_failures_up_to_a_limit() -> None:
    names = [f"n{at}" for at in range(15)]
    bad = [make.node(at, name, ev.NODE_STATUS_ERROR, error="no") for at, name in enumerate(names, 2)]
    lines = [each.plain for each in summary_lines(viewed(make.started(1, *names), *bad, make.completed(17)))]
    assert lines[0] == "success  demo in 2.0 s: 0 of 15 nodes succeeded, 15 failed"
    assert lines[1] == "error  N0 (n0): no"
    assert lines[-1] == f"… and {15 - MAX_FAILED_NODES} more failed nodes"


def test_the_summary_says_how_to_get_outputs_that_are_cut_short() -> None:
    cut = make.completed(2, outputs='{"o": "x…"}')
    cut.complete.artifact.uri = "weftline:run/0"
    lines = [each.plain for each in summary_lines(viewed(make.started(1, "a"), cut))]
    assert lines[-1] == "the outputs are cut short; all of them: weftline artifact weftline:run/0"
    whole = summary_lines(viewed(make.started(1, "a"), make.completed(2, outputs='{"o": 1}')))
    assert not any("artifact" in each.plain for each in whole)


def test_the_summary_names_the_node_at_fault_once() -> None:
    view = viewed(make.started(1, "a"), make.node(2, "a", ev.NODE_STATUS_ERROR, error="no"), make.failed(3, "a"))
    assert [each.plain for each in summary_lines(view)] == [
        "error  demo in 2.0 s: 0 of 1 node succeeded, 1 failed",
        "failed at node A (a): no route to host [node_failed]",
    ]


def test_what_a_stop_cancelled_is_not_called_failed() -> None:
    cancelled = make.node(2, "a", ev.NODE_STATUS_ERROR, error="cancelled: the run was stopped", error_code="cancelled")
    view = viewed(make.started(1, "a", "b"), cancelled, make.node(3, "b", ev.NODE_STATUS_ERROR, error="no"))
    assert said(cancelled, view).endswith("cancelled  A (a)")
    view.apply(make.completed(4, status=ev.RUN_STATE_STOPPED), NOW)
    assert [each.plain for each in summary_lines(view)] == [
        "stopped  demo in 2.0 s: 0 of 2 nodes succeeded, 1 failed, 1 cancelled",
        "error  B (b): no",
    ]
    view.apply(make.node(5, "a", ev.NODE_STATUS_RUNNING, attempt=2), NOW)
    assert view.cancelled == 0


@pytest.mark.parametrize("reason", ["unknown_outcome", "node_failed"])
def test_a_pause_by_the_executor_comes_with_what_to_do(reason: str) -> None:
    out = io.StringIO()
    screen = PlainScreen(Console(file=out, width=200), Console(file=io.StringIO()))
    paused = make.event(2, workflow_pause=ev.RunStateChange(state=ev.RUN_STATE_PAUSED, by="weftline", reason=reason))
    screen.event(paused, viewed(make.started(1, "a"), paused))
    assert out.getvalue().endswith("weftline resume demo tries it again; weftline stop demo ends the run.\n")


def test_a_failure_that_a_policy_handled_says_so() -> None:
    failed = make.node(2, "a", ev.NODE_STATUS_ERROR, error="no", error_code="x", handled="fail_branch")
    view = viewed(make.started(1, "a"), failed, make.completed(3))
    assert said(failed, view).endswith("error      A (a)  handled by fail branch  no [x]")
    assert [each.plain for each in summary_lines(view)] == [
        "success  demo in 2.0 s: 0 of 1 node succeeded, 1 failed and handled"
    ]
    view.apply(make.node(4, "a", ev.NODE_STATUS_RUNNING, attempt=2), NOW)
    assert view.handled == 0


def test_a_pause_by_a_person_needs_no_advice() -> None:
    paused = make.event(2, workflow_pause=ev.RunStateChange(state=ev.RUN_STATE_PAUSED, by="ada", reason="lunch"))
    assert advice_on(paused) == ""


def test_the_context_of_a_log_line_follows_it_as_compact_json() -> None:
    logged = make.event(2, log=ev.Log(message="said it", context_json='{"times": 2, "to": ["é"]}'))
    assert said(logged, viewed(make.started(1, "a"))).endswith('said it  {"times":2,"to":["é"]}')


@pytest.mark.parametrize(("progress", "remaining_ms"), [(0.999, 400), (0.9, 0)])
def test_a_run_that_should_be_over_is_said_to_finish(progress: float, remaining_ms: int) -> None:
    view = viewed(make.started(1, "a"), make.run_progress(progress, total=1, remaining_ms=remaining_ms))
    drawn = rendered(view)
    assert "1.0 s, finishing" in drawn
    assert "%" not in drawn
    assert "ETA" not in drawn
    assert [each.plain for each in run_lines(view, NOW)][:2] == ["running  demo: 0 of 1 node succeeded", "finishing"]


def test_lines_tell_progress_once_for_each_tenth() -> None:
    out = io.StringIO()
    screen = PlainScreen(Console(file=out, width=200), Console(file=io.StringIO()))
    view = viewed(make.started(1, "a"))
    for hundredth in range(0, 101, 5):
        event = make.run_progress(hundredth / 100, total=1)
        view.apply(event, NOW)
        screen.event(event, view)
    assert [each.split()[0] for each in out.getvalue().splitlines()] == [f"{tenth}0%" for tenth in range(1, 10)]
