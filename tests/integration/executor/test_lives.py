"""Runs whose engine dies at a chosen instant, or is told things in a chosen order: what random ones once got wrong."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.engine_gates import LATER_SECONDS
from tests.support.engine_lives import Lives
from tests.support.engine_model import MAX_RECOVERIES
from tests.support.engine_plans import FAILS
from tests.support.executor_graphs import chain, definition, node
from weftline_executor.model import events as model

BY: dict[str, Any] = {"by": "ada", "reason": "", "command_id": ""}


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lives]:
    monkeypatch.setattr("weftline_executor.engine.takeup.MAX_RECOVERIES", MAX_RECOVERIES)
    made = Lives()
    made.begin()
    yield made
    made.die()


def start(lives: Lives, text: str) -> None:
    lives.ask(lives.engine.commands.start(lives.workflow_id, text.encode(), by="ada", command_id=""))
    lives.rest()


def resume(lives: Lives) -> None:
    lives.ask(lives.engine.commands.resume(lives.workflow_id, **BY))


def crash(lives: Lives) -> None:
    lives.die()
    lives.begin()


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
