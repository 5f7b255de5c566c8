"""Nodes with bodies in an engine that dies at every instant there is, or is told things in a chosen order."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.support.engine_lives import SLOTS, Lives
from tests.support.engine_plans import FAILS
from tests.support.engine_stories import BY, START, command, crash, opens, start
from tests.support.executor_graphs import definition, node
from weftline_executor.errors import FollowsParent
from weftline_executor.model import events as model

ENDS = (model.RunCompleted, model.RunFailed)
APPENDS = range(14)


def body(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": list(nodes), "edges": []}


def sub(inner: str = "model.safe", **data: Any) -> dict[str, Any]:
    """A node with a body of one node."""
    return node("sub", "workflow", workflow=body(node("in", inner)), **data)


EACH = node("each", "map", items=[1, 2, 3], concurrency=2, workflow=body(node("in", "model.safe")))


def open_all(lives: Lives) -> None:
    """Opens every gate until none is left."""
    while waiting := lives.board.waiting():
        opens(lives, waiting[0])


def ends(lives: Lives, bodies: bool) -> list[Any]:
    """The ends of the runs of bodies, or of the run around them."""
    batches = [batch for batch in lives.store.appended if (":" in batch.workflow_id) is bodies]
    return [event for batch in batches for event in batch.events if isinstance(event, ENDS)]


def told(lives: Lives, kind: type[Any]) -> list[Any]:
    """All events of this kind."""
    return [event for batch in lives.store.appended for event in batch.events if isinstance(event, kind)]


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("appends", APPENDS)
def test_a_map_gives_the_same_whenever_the_process_dies(lives: Lives, appends: int, keeps: bool) -> None:
    start(lives, definition([node("first", "model.safe"), EACH, node("last")], "first>each", "each>last"))
    lives.store.die_at(appends, keeps)
    open_all(lives)
    lives.store.revive()
    assert not lives.engine.runs
    assert [event.status for event in ends(lives, False)] == ["success"]
    assert [event.status for event in ends(lives, True)] == ["success"] * 3
    runs = Counter(batch.workflow_id for batch in lives.store.appended if isinstance(batch.events[0], model.RunStarted))
    assert set(runs.values()) == {1}


@pytest.mark.parametrize("mode", [30_000, None])
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("appends", APPENDS)
def test_nothing_of_a_stopped_map_goes_on_whenever_the_process_dies(
    lives: Lives, appends: int, keeps: bool, mode: int | None
) -> None:
    start(lives, definition([node("first", "model.safe"), EACH], "first>each"))
    lives.board.open("first", "")
    lives.turn(appends)
    lives.store.die_at(appends // 2, keeps)
    command(lives, "stop", grace_ms=mode)
    if lives.engine.active(lives.workflow_id):
        command(lives, "stop", grace_ms=mode)
    lives.store.revive()
    assert not lives.engine.runs
    assert [event.status for event in ends(lives, False)] == ["stopped"]
    assert not lives.board.waiting()


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("appends", APPENDS)
def test_a_paused_map_goes_on_when_it_is_resumed_whenever_the_process_dies(
    lives: Lives, appends: int, keeps: bool
) -> None:
    start(lives, definition([EACH, node("last")], "each>last"))
    lives.store.die_at(appends, keeps)
    command(lives, "pause")
    open_all(lives)
    for _ in range(3):
        run = lives.engine.active(lives.workflow_id)
        if run is not None and run.state == "paused":
            command(lives, "resume")
        open_all(lives)
    lives.store.revive()
    assert not lives.engine.runs
    assert [event.status for event in ends(lives, False)] == ["success"]
    assert [event.status for event in ends(lives, True)] == ["success"] * 3


def test_a_body_does_not_run_on_beside_the_finally_nodes_of_a_stopped_run_after_a_crash(lives: Lives) -> None:
    last = node("last", "model.safe", policy={"finally": True})
    start(lives, definition([sub("model.stubborn"), last]))
    command(lives, "stop", grace_ms=30_000)
    assert lives.board.waiting() == ["sub/in"]
    crash(lives)
    assert lives.board.waiting() == ["last"]
    assert list(lives.engine.runs) == [lives.workflow_id]


def test_a_body_that_failed_while_its_node_was_recovered_twice_is_not_tried_again(lives: Lives) -> None:
    start(lives, definition([sub()]))
    command(lives, "pause")
    lives.store.die_at(0, keeps=True)
    opens(lives, "sub/in", FAILS)
    assert len(ends(lives, True)) == 1
    crash(lives)
    command(lives, "resume")
    assert len(ends(lives, False)) == 1
    assert not lives.board.waiting()


@pytest.mark.parametrize("crashes", [1, 2, 3])
def test_a_body_that_failed_is_not_tried_again_where_its_node_waits_for_a_slot_after_a_crash(
    lives: Lives, crashes: int
) -> None:
    gates = [node(f"g{number}", "model.safe") for number in range(SLOTS)]
    after = [node(f"x{number}") for number in range(SLOTS)]
    edges = [edge for n in range(SLOTS) for edge in (f"first>g{n}", f"g{n}>x{n}")]
    start(lives, definition([sub("approval"), node("first", "model.safe"), *gates, *after], *edges))
    opens(lives, "first")
    inner = next(each for each in lives.engine.runs if ":" in each)
    lives.store.die_at(0, keeps=True)
    answer = lives.engine.commands.complete(inner, node_id="in", data=b'{"approved":false}', **START)
    lives.ask(answer)
    lives.rest()
    for _ in range(crashes - 1):
        crash(lives)
    open_all(lives)
    assert len(ends(lives, True)) == 1
    assert len(ends(lives, False)) == 1


def test_a_body_does_not_run_on_beside_the_finally_nodes_of_a_failed_run_after_a_crash(lives: Lives) -> None:
    last = node("last", "model.safe", policy={"finally": True})
    start(lives, definition([sub(), node("bad", "model.safe"), last]))
    opens(lives, "bad", FAILS)
    assert lives.board.waiting() == ["sub/in"]
    crash(lives)
    assert lives.board.waiting() == ["last"]
    assert list(lives.engine.runs) == [lives.workflow_id]


@pytest.mark.parametrize("mode", ["null", "drop"])
@pytest.mark.parametrize("paused", [False, True])
def test_a_map_that_was_stopped_does_without_no_item_but_is_worked_on_again_by_a_retry(
    lives: Lives, mode: str, paused: bool
) -> None:
    inside = body(node("in", "model.safe"), node("out", "output", value="{{ params.item }}"))
    start(lives, definition([node("each", "map", items=[1, 2, 3], concurrency=2, workflow=inside, onItemError=mode)]))
    opens(lives, "each.0/in")
    if paused:
        command(lives, "pause")
        opens(lives, lives.board.waiting()[0])
    command(lives, "stop", grace_ms=30_000)
    assert [event.status for event in ends(lives, False)] == ["stopped"]
    command(lives, "retry")
    open_all(lives)
    (outputs,) = [event.output for event in told(lives, model.NodeSucceeded) if event.node == "each"]
    assert bytes(outputs) == b"[1,2,3]"


@pytest.mark.parametrize("slowly", [0, 2])
@pytest.mark.parametrize("turns", range(24))
def test_a_run_comes_to_its_pause_at_whatever_instant_of_a_bodys_begin_it_is_asked_to(
    lives: Lives, turns: int, slowly: int
) -> None:
    start(lives, definition([node("first", "model.safe"), sub(), EACH], "first>sub", "first>each"))
    lives.store.turns = slowly
    lives.board.open("first", "")
    lives.turn(turns)
    command(lives, "pause")
    run = lives.engine.runs[lives.workflow_id]
    if run.state == "paused":
        assert not lives.board.waiting()
    open_all(lives)
    assert {each.state for each in lives.engine.runs.values()} == {"paused"}
    command(lives, "resume")
    open_all(lives)
    assert [event.status for event in ends(lives, False)] == ["success"]


def test_a_finally_node_goes_on_with_its_paused_body_when_the_run_is_stopped(lives: Lives) -> None:
    inner = {"nodes": [node("a", "model.safe"), node("b", "model.safe")], "edges": [{"source": "a", "target": "b"}]}
    last = node("last", "workflow", workflow=inner, policy={"finally": True})
    start(lives, definition([node("first"), last]))
    command(lives, "pause")
    opens(lives, "last/a")
    assert {run.state for run in lives.engine.runs.values()} == {"paused"}
    command(lives, "stop", grace_ms=30_000)
    assert lives.board.waiting() == ["last/b"]
    opens(lives, "last/b")
    assert [event.status for event in ends(lives, True)] == ["success"]
    assert [event.status for event in ends(lives, False)] == ["stopped"]


def test_a_body_in_which_nobody_knows_what_a_node_did_is_stopped_with_its_paused_run(lives: Lives) -> None:
    last = sub("model.unsafe", policy={"finally": True})
    start(lives, definition([node("first"), last]))
    crash(lives)
    command(lives, "pause")
    command(lives, "stop", grace_ms=30_000)
    assert not lives.board.waiting()
    assert [event.status for event in ends(lives, True)] == ["stopped"]
    assert [event.status for event in ends(lives, False)] == ["stopped"]


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("appends", range(6))
def test_a_retry_of_the_run_reaches_its_body_once_whenever_the_process_dies(
    lives: Lives, appends: int, keeps: bool
) -> None:
    start(lives, definition([sub()]))
    opens(lives, "sub/in", FAILS)
    lives.store.die_at(appends, keeps)
    command(lives, "retry")
    if not lives.engine.runs:
        command(lives, "retry")
    assert lives.board.waiting() == ["sub/in"]
    crash(lives)
    opens(lives, "sub/in", FAILS)
    assert len(ends(lives, True)) == len(ends(lives, False)) == 2
    assert len([event for event in told(lives, model.RunResumed) if event.reason == "parent_retried"]) == 1


def test_a_body_is_not_resumed_beside_its_paused_run(lives: Lives) -> None:
    start(lives, definition([sub(), node("beside", "model.safe")]))
    inner = next(each for each in lives.engine.runs if ":" in each)
    command(lives, "pause")
    refused = lives.ask(lives.engine.commands.resume(inner, **BY))
    lives.rest()
    error = refused.exception()
    assert isinstance(error, FollowsParent)
    assert (error.command, error.workflow_id, error.parent_workflow_id) == ("resume", inner, lives.workflow_id)


def test_a_body_is_started_retried_and_rerun_by_its_node_alone(lives: Lives) -> None:
    start(lives, definition([sub(), node("beside", "model.safe")]))
    inner = next(each for each in lives.engine.runs if ":" in each)
    commands, again = lives.engine.commands, definition([node("a")], onConflict="replace").encode()
    for ended in (False, True):
        if ended:
            opens(lives, "sub/in", FAILS)
        asked = [commands.start(inner, again, **START), commands.retry(inner, **BY)]
        asked.append(commands.rerun(inner, from_node="in", **START))
        tasks = [lives.ask(each) for each in asked]
        lives.rest()
        assert {type(task.exception()) for task in tasks} == {FollowsParent}


def test_every_run_around_is_told_once_which_node_of_a_body_waits_for_somebody(lives: Lives) -> None:
    asks = node("each", "map", items=[1, 2], workflow=body(node("in", "approval")))
    start(lives, definition([node("sub", "workflow", workflow=body(asks))]))
    lines = [(batch.workflow_id, event) for batch in lives.store.appended for event in batch.events]
    said = [(where.count(":"), event.node) for where, event in lines if isinstance(event, model.LogWritten)]
    assert sorted(said) == [(0, "sub"), (2, "each")]
    context = json.loads(bytes(told(lives, model.LogWritten)[0].context))
    lives.ask(lives.engine.commands.complete(context["workflowId"], node_id=context["nodeId"], data=b"1", **START))
    lives.rest()
    assert len(told(lives, model.LogWritten)) == 2
    (last,) = [each for each in lives.engine.runs if each.count(":") == 4]
    lives.ask(lives.engine.commands.complete(last, node_id="in", data=b"1", **START))
    lives.rest()
    assert [event.status for event in ends(lives, False)] == ["success"]


def test_a_map_that_fails_waits_after_a_crash_too_for_the_items_on_their_way(lives: Lives) -> None:
    start(lives, definition([{**EACH, "data": {**EACH["data"], "policy": {"onError": "fail_branch"}}}]))
    opens(lives, "each.1/in")
    opens(lives, "each.0/in", FAILS)
    assert lives.board.waiting() == ["each.2/in"]
    crash(lives)
    assert lives.board.waiting() == ["each.2/in"]
    assert not told(lives, model.RunCompleted)[1:]
    opens(lives, "each.2/in")
    assert [event.status for event in ends(lives, True) if isinstance(event, model.RunCompleted)] == ["success"] * 2
    assert [event.status for event in ends(lives, False)] == ["success"]


def test_a_body_is_not_paused_before_what_goes_on_inside_it_after_a_crash(lives: Lives) -> None:
    inner = node("in", "workflow", workflow=body(node("deep", "model.safe")))
    start(lives, definition([node("sub", "workflow", workflow=body(inner)), node("once", "model.unsafe")]))
    crash(lives)
    states = {each.count(":") // 2: run.state for each, run in lives.engine.runs.items()}
    assert states == {0: "paused", 1: "pausing", 2: "pausing"}
    opens(lives, "sub/in/deep")
    assert {run.state for run in lives.engine.runs.values()} == {"paused"}
    command(lives, "resume")
    open_all(lives)
    assert [event.status for event in ends(lives, False)] == ["success"]


def test_a_node_with_a_body_goes_on_through_any_number_of_restarts(
    lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weftline_executor.engine.takeup.MAX_RECOVERIES", 2)
    start(lives, definition([sub("approval")]))
    for _ in range(5):
        crash(lives)
    inner = next(each for each in lives.engine.runs if ":" in each)
    lives.ask(lives.engine.commands.complete(inner, node_id="in", data=b'{"approved":true}', **START))
    lives.rest()
    assert [event.status for event in ends(lives, False)] == ["success"]


def test_a_body_that_is_resumed_and_stopped_at_once_counts_each_node_once(lives: Lives) -> None:
    held = node("bad", "model.safe", policy={"onError": "pause"})
    start(lives, definition([node("sub", "workflow", workflow=body(held, node("good", "model.safe")))]))
    opens(lives, "sub/good")
    opens(lives, "sub/bad", FAILS)
    inner = next(each for each in lives.engine.runs if ":" in each)
    lives.ask(lives.engine.commands.resume(inner, **BY))
    command(lives, "stop", grace_ms=None)
    (event,) = ends(lives, True)
    assert isinstance(event, model.RunCompleted)
    assert (event.status, event.total_nodes) == ("stopped", 2)
    assert (event.completed_nodes, event.failed_nodes, event.skipped_nodes) == (1, 0, 1)
