"""A wall clock that is set by hours, forward or back, while runs go on or while the executor is down."""

from typing import Any

import pytest

from tests.support.engine_gates import LATER_SECONDS
from tests.support.engine_lives import Lives
from tests.support.engine_plans import FAILS
from tests.support.engine_stories import BY, start
from tests.support.executor_graphs import chain, definition, node
from weftline_executor.model import events as model
from weftline_executor.model.records import Retention

HOURS = 5 * 3600.0
JUMPS = pytest.mark.parametrize("jump", [HOURS, -HOURS], ids=["forward", "back"])
RETRIED = {"retry": {"attempts": 2, "delay": 0}}


def pass_time(lives: Lives, seconds: float) -> None:
    lives.pass_time(seconds)
    lives.rest()


def told(lives: Lives, kind: type[model.Event]) -> list[Any]:
    return [event for batch in lives.store.appended for event in batch.events if isinstance(event, kind)]


def is_active(lives: Lives) -> bool:
    return lives.engine.active(lives.workflow_id) is not None


@JUMPS
def test_durations_are_those_of_a_clock_that_nobody_sets(lives: Lives, jump: float) -> None:
    start(lives, chain(node("a", "model.safe")))
    pass_time(lives, 60)
    lives.astray = jump
    lives.board.open("a", "")
    lives.rest()
    assert 0 <= told(lives, model.NodeSucceeded)[0].duration < 60_000
    assert told(lives, model.RunCompleted)[0].duration == 60_000


@JUMPS
def test_no_duration_is_negative_when_the_clock_was_set_while_the_executor_was_down(lives: Lives, jump: float) -> None:
    start(lives, chain(node("a", "model.safe"), node("asks", "approval")))
    lives.board.open("a", "")
    lives.rest()
    lives.die()
    lives.astray = jump
    lives.begin()
    work = lives.engine.commands.complete(
        lives.workflow_id, node_id="asks", event="", data=b"", by="ada", command_id=""
    )
    lives.ask(work)
    lives.rest()
    assert all(event.duration >= 0 for event in told(lives, model.NodeSucceeded))
    assert told(lives, model.RunCompleted)[0].duration >= 0


@JUMPS
def test_a_retry_comes_when_its_time_has_passed_whatever_the_clock_says(lives: Lives, jump: float) -> None:
    start(lives, chain(node("a", "model.safe", policy=RETRIED)))
    lives.board.open("a", FAILS, "later")
    lives.rest()
    lives.astray = jump
    pass_time(lives, LATER_SECONDS - 10)
    assert lives.board.waiting() == []
    pass_time(lives, 10)
    assert lives.board.waiting() == ["a"]


@JUMPS
def test_a_retry_after_a_restart_comes_no_later_than_after_the_whole_of_its_wait(lives: Lives, jump: float) -> None:
    start(lives, chain(node("a", "model.safe", policy=RETRIED)))
    lives.board.open("a", FAILS, "later")
    lives.rest()
    lives.die()
    lives.astray = jump
    lives.begin()
    assert lives.board.waiting() == (["a"] if jump > 0 else [])
    pass_time(lives, LATER_SECONDS)
    assert lives.board.waiting() == ["a"]


@JUMPS
def test_a_run_has_the_whole_of_its_deadline_and_no_more(lives: Lives, jump: float) -> None:
    start(lives, definition([node("a", "model.unsafe"), node("b", "model.safe")], deadline=LATER_SECONDS))
    pass_time(lives, 600)
    lives.astray = jump
    pass_time(lives, 600)
    lives.ask(lives.engine.commands.pause(lives.workflow_id, immediate=True, **BY))
    lives.rest()
    lives.board.open("a", "")
    lives.rest()
    pass_time(lives, 2 * LATER_SECONDS)
    lives.astray = 0
    lives.ask(lives.engine.commands.resume(lives.workflow_id, **BY))
    lives.rest()
    pass_time(lives, LATER_SECONDS - 1210)
    assert is_active(lives)
    pass_time(lives, 20)
    assert told(lives, model.RunFailed)[0].code == "deadline"


@JUMPS
@pytest.mark.parametrize("restarts", [False, True])
def test_an_approval_is_asked_for_until_its_deadline_and_not_for_hours_more(
    lives: Lives, jump: float, restarts: bool
) -> None:
    start(lives, chain(node("asks", "approval", deadline=LATER_SECONDS, default={"approved": True})))
    lives.astray = jump
    if restarts:
        lives.die()
        lives.begin()
    if not (restarts and jump > 0):
        pass_time(lives, LATER_SECONDS - 10)
        assert is_active(lives)
    pass_time(lives, 20)
    assert not is_active(lives)
    assert told(lives, model.NodeSucceeded)[0].reason == "timed_out"


@JUMPS
def test_the_time_that_is_left_does_not_change_with_the_clock(lives: Lives, jump: float) -> None:
    nodes = [node("a", "model.safe"), node("slow", "delay", seconds=1000)]
    start(lives, chain(*nodes))
    run = lives.engine.active(lives.workflow_id)
    assert run is not None
    before = run.progress.current().remaining
    lives.astray = jump
    after = run.progress.current().remaining
    assert before is not None
    assert after == pytest.approx(before, abs=5_000)


def test_what_is_new_is_not_deleted_because_the_clock_jumps_ahead_and_goes_at_the_next_start() -> None:
    lives = Lives(retention=Retention(max_age_ms=86_400_000, max_runs=100, max_bytes=1 << 60))
    lives.begin()

    def kept() -> bool:
        return lives.loop.run_until_complete(lives.store.newest_run(lives.workflow_id)) is not None

    start(lives, chain(node("a")))
    lives.astray = 10 * 86_400.0
    pass_time(lives, 61)
    assert kept()
    lives.die()
    lives.begin()
    assert not kept()
    lives.die()
