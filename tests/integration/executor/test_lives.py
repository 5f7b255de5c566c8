"""Runs whose engine dies at a chosen instant, or is told things in a chosen order: what random ones once got wrong."""

from typing import Any

import pytest

from tests.support.engine_gates import LATER_SECONDS
from tests.support.engine_lives import Lives
from tests.support.engine_model import MAX_RECOVERIES
from tests.support.engine_plans import FAILS
from tests.support.engine_stories import BY, START, command, crash, opens, start
from tests.support.executor_graphs import chain, definition, node
from weftline_executor.model import events as model

FINALLY = {"finally": True}


@pytest.fixture(autouse=True)
def few_recoveries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weftline_executor.engine.takeup.MAX_RECOVERIES", MAX_RECOVERIES)


def resume(lives: Lives) -> None:
    lives.ask(lives.engine.commands.resume(lives.workflow_id, **BY))


def told(lives: Lives, kind: type[model.Event]) -> list[Any]:
    return [event for batch in lives.store.appended for event in batch.events if isinstance(event, kind)]


def state(lives: Lives) -> str:
    run = lives.engine.active(lives.workflow_id)
    return run.state.value if run else "ended"


def test_a_node_that_kills_the_process_each_time_pauses_its_run_if_its_failure_is_to(lives: Lives) -> None:
    start(lives, chain(node("deadly", "model.safe", policy={"onError": "pause"}), node("after")))
    for _ in range(MAX_RECOVERIES + 1):
        crash(lives)
    assert (state(lives), told(lives, model.NodeFailed)[-1].code) == ("paused", "crash_loop")
    resume(lives)
    lives.rest()
    lives.board.open("deadly", "")
    lives.rest()
    assert state(lives) == "ended"


@pytest.mark.parametrize("dies", [False, True])
def test_a_run_that_is_resumed_before_its_pause_is_durable_tries_the_failed_node_again(
    lives: Lives, dies: bool
) -> None:
    start(lives, definition([node("a", "model.safe", policy={"onError": "pause"}), node("b", "model.safe")]))
    lives.store.turns = 20
    lives.board.open("b", "")
    lives.turn(5)
    lives.board.open("a", FAILS)
    lives.turn(5)
    assert state(lives) == "pausing"
    resume(lives)
    if dies:
        lives.store.die_at(1, keeps=True)
    lives.rest()
    assert state(lives) == "running"
    assert lives.board.waiting() == ["a"]
    assert [(event.attempt, event.reason) for event in told(lives, model.NodePending)] == [(2, "resumed")]


def test_attempts_are_counted_on_after_a_crash_also_of_a_node_whose_turn_comes_later(lives: Lives) -> None:
    nodes = [node("first", "model.safe"), node("second", "model.safe", policy={"join": "all_done"})]
    start(lives, definition(nodes, "first>second", failurePolicy="continue"))
    lives.board.open("first", FAILS)
    lives.rest()
    lives.board.open("second", FAILS)
    lives.rest()
    lives.ask(lives.engine.commands.retry(lives.workflow_id, **BY))
    lives.rest()
    crash(lives)
    lives.board.open("first", "")
    lives.rest()
    assert [event.attempt for event in told(lives, model.NodeRunning) if event.node == "second"] == [1, 2]


def test_a_retry_keeps_the_success_of_a_node_that_had_failed_before_it(lives: Lives) -> None:
    flaky = node("flaky", "model.safe", policy={"retry": {"attempts": 2, "delay": 0}})
    start(lives, chain(flaky, node("bad", "model.safe")))
    for node_id, outcome in (("flaky", FAILS), ("flaky", ""), ("bad", FAILS)):
        lives.board.open(node_id, outcome)
        lives.rest()
    lives.ask(lives.engine.commands.retry(lives.workflow_id, **BY))
    lives.rest()
    assert [event.node for event in told(lives, model.NodePending) if event.reason == "reset"] == ["bad"]


def test_a_run_that_is_retried_after_its_deadline_has_the_whole_of_it_again(lives: Lives) -> None:
    start(lives, chain(node("a", "model.safe"), deadline=LATER_SECONDS))
    lives.pass_time(LATER_SECONDS)
    lives.rest()
    assert told(lives, model.RunFailed)[-1].code == "deadline"
    lives.ask(lives.engine.commands.retry(lives.workflow_id, **BY))
    lives.rest()
    lives.pass_time(LATER_SECONDS - 1)
    lives.rest()
    crash(lives)
    assert (state(lives), lives.board.waiting()) == ("running", ["a"])
    lives.pass_time(1)
    lives.rest()
    assert (state(lives), len(told(lives, model.RunFailed))) == ("ended", 2)


def test_finally_nodes_wait_for_the_others_also_after_a_retry_and_a_crash(lives: Lives) -> None:
    start(lives, definition([node("a", "model.safe"), node("last", "model.safe", policy=FINALLY)]))
    opens(lives, "a", FAILS)
    opens(lives, "last")
    command(lives, "retry")
    crash(lives)
    assert lives.board.waiting() == ["a"]
    opens(lives, "a")
    assert lives.board.waiting() == ["last"]


def test_a_paused_run_whose_last_wait_is_completed_ends_when_it_is_resumed(lives: Lives) -> None:
    start(lives, chain(node("ask", "approval")))
    command(lives, "pause")
    command(lives, "complete", node_id="ask", data=b"1")
    assert state(lives) == "paused"
    crash(lives)
    assert state(lives) == "paused"
    command(lives, "resume")
    assert (state(lives), told(lives, model.RunCompleted)[-1].status) == ("ended", "success")


def test_a_finally_node_that_must_not_run_twice_does_not_in_a_run_that_is_stopped(lives: Lives) -> None:
    start(lives, definition([node("a"), node("last", "model.unsafe", policy=FINALLY)]))
    command(lives, "stop", grace_ms=30_000)
    crash(lives)
    assert (state(lives), told(lives, model.NodeFailed)[-1].code) == ("ended", "interrupted")


def test_a_finally_node_of_unknown_outcome_does_not_run_again_by_a_stop(lives: Lives) -> None:
    start(lives, definition([node("a"), node("last", "model.unsafe", policy=FINALLY)]))
    crash(lives)
    assert state(lives) == "paused"
    command(lives, "stop", grace_ms=30_000)
    assert state(lives) == "ended"
    assert len(told(lives, model.NodeRunning)) == 2


def test_a_run_that_was_terminated_stays_so_when_the_grace_of_an_earlier_stop_is_over(lives: Lives) -> None:
    start(lives, definition([node("slow", "model.stubborn"), node("last", "model.safe", policy=FINALLY)]))
    command(lives, "stop", grace_ms=30_000)
    lives.store.turns = 5
    lives.ask(lives.engine.commands.stop(lives.workflow_id, **BY, grace_ms=None))
    lives.turn(2)
    lives.pass_time(60)
    lives.rest()
    assert state(lives) == "ended"
    assert not [event for event in told(lives, model.NodeRunning) if event.node == "last"]


@pytest.mark.parametrize("policy", [{}, {"onError": "pause"}])
def test_a_stop_bounds_finally_nodes_that_wait(lives: Lives, policy: dict[str, Any]) -> None:
    start(lives, definition([node("a"), node("last", "approval", policy={**FINALLY, **policy})]))
    command(lives, "stop", grace_ms=30_000)
    assert state(lives) == "stopping"
    lives.pass_time(31)
    lives.rest()
    assert (state(lives), told(lives, model.NodeSkipped)[-1].reason) == ("ended", "run_stopped")


def test_a_stop_does_not_wait_for_a_finally_node_that_failed_and_paused_its_run(lives: Lives) -> None:
    start(lives, definition([node("a"), node("last", "model.safe", policy={**FINALLY, "onError": "pause"})]))
    opens(lives, "last", FAILS)
    assert state(lives) == "paused"
    command(lives, "stop", grace_ms=30_000)
    assert state(lives) == "ended"


def test_a_run_over_its_deadline_ends_by_that_also_after_a_crash_of_its_finally_nodes(lives: Lives) -> None:
    nodes = [node("ask", "approval"), node("last", "model.safe", policy=FINALLY)]
    start(lives, definition(nodes, deadline=LATER_SECONDS))
    lives.pass_time(LATER_SECONDS)
    lives.rest()
    assert lives.board.waiting() == ["last"]
    crash(lives)
    opens(lives, "last")
    assert [event.code for event in told(lives, model.RunFailed)] == ["deadline"]


def test_a_disabled_node_says_the_same_after_a_crash(lives: Lives) -> None:
    nodes = [
        node("b", "model.safe"),
        node("a", "model.safe"),
        node("off", policy={"disabled": True, "join": "one_success"}),
        node("after", "model.safe", policy={"join": "none_failed"}),
    ]
    start(lives, definition(nodes, "a>off", "b>off", "off>after", failurePolicy="continue"))
    opens(lives, "a")
    opens(lives, "b", FAILS)
    assert lives.board.waiting() == ["after"]
    crash(lives)
    assert lives.board.waiting() == ["after"]


def test_a_retry_skips_a_disabled_node_again_that_waits_for_nobody(lives: Lives) -> None:
    start(lives, chain(node("a", "model.safe"), node("off", policy={"disabled": True, "join": "always"})))
    opens(lives, "a", FAILS)
    command(lives, "retry")
    opens(lives, "a")
    assert [event.reason for event in told(lives, model.NodeSkipped)] == ["disabled"] * 2
    assert [event.skipped_nodes for event in told(lives, model.RunCompleted)] == [1]


def until_waits(lives: Lives, node_id: str) -> None:
    """Lets the loop turn until a node waits, which it does before that is durable."""
    for _ in range(200):
        run = lives.engine.runs.get(lives.workflow_id)
        if run is not None and run.graph.index[node_id] in run.waits:
            return
        lives.turn(1)
    raise AssertionError("the node does not wait")


def test_a_wait_can_be_completed_before_its_start_is_durable(lives: Lives) -> None:
    lives.store.turns = 20
    lives.ask(lives.engine.commands.start(lives.workflow_id, chain(node("ask", "approval")).encode(), **START))
    until_waits(lives, "ask")
    assert not told(lives, model.NodeRunning)
    command(lives, "complete", node_id="ask", data=b"1")
    assert [(event.node, event.reason) for event in told(lives, model.NodeSucceeded)] == [("ask", "completed")]
    assert [event.status for event in told(lives, model.RunCompleted)] == ["success"]


def test_a_node_that_was_given_up_is_not_tried_again_after_a_crash_of_the_finally_nodes(lives: Lives) -> None:
    nodes = [
        node("held", "model.safe", policy={"onError": "pause"}),
        node("bad", "model.safe"),
        node("last", "model.safe", policy=FINALLY),
    ]
    start(lives, definition(nodes))
    opens(lives, "held", FAILS)
    opens(lives, "bad", FAILS)
    command(lives, "resume")
    assert lives.board.waiting() == ["last"]
    crash(lives)
    assert lives.board.waiting() == ["last"]
