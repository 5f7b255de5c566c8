"""Bodies clean up before the run around them ends, also where the engine has died before."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.engine_lives import SLOTS, Lives
from tests.support.engine_plans import FAILS
from tests.support.engine_stories import command, crash, opens, start
from tests.support.executor_graphs import definition, node
from weftline_executor.model import events as model

FINALLY = {"finally": True}
LAST = node("last", "model.safe", policy=FINALLY)


def sub(inner: str = "model.safe") -> dict[str, Any]:
    """A node whose body has a node of this type, and one that cleans up."""
    nodes = [node("in", inner), node("clean", "model.safe", policy=FINALLY)]
    return node("sub", "workflow", workflow={"nodes": nodes, "edges": []})


def ends(lives: Lives) -> list[tuple[str, str]]:
    """The ends of all runs, those of bodies as `body`."""
    runs = [("body" if ":" in batch.workflow_id else "run", batch.events[-1]) for batch in lives.store.appended]
    return [
        (which, "error" if isinstance(event, model.RunFailed) else str(event.status))
        for which, event in runs
        if isinstance(event, model.RunCompleted | model.RunFailed)
    ]


@pytest.mark.parametrize("before", [0, 1, 2])
@pytest.mark.parametrize("after", [0, 1])
def test_a_body_cleans_up_before_the_run_around_it_does_whenever_the_process_dies(
    lives: Lives, before: int, after: int
) -> None:
    start(lives, definition([sub("approval"), LAST]))
    # In a paused run, no node begins again.
    command(lives, "pause")
    crash(lives, before)
    command(lives, "stop", grace_ms=30_000)
    crash(lives, after)
    assert lives.board.waiting() == ["sub/clean"]
    opens(lives, "sub/clean")
    assert lives.board.waiting() == ["last"]
    opens(lives, "last")
    assert ends(lives) == [("body", "stopped"), ("run", "stopped")]


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("appends", range(8))
def test_each_finally_node_has_run_in_the_end_at_whatever_append_of_a_stop_the_process_dies(
    lives: Lives, appends: int, keeps: bool
) -> None:
    start(lives, definition([sub("approval"), LAST]))
    lives.store.die_at(appends, keeps)
    for _ in range(3):
        if lives.engine.active(lives.workflow_id):
            command(lives, "stop", grace_ms=30_000)
    while waiting := lives.board.waiting():
        assert len(waiting) == 1
        opens(lives, waiting[0])
    lives.store.revive()
    events = [event for batch in lives.store.appended for event in batch.events]
    assert [event.node for event in events if isinstance(event, model.NodeSucceeded)] == ["clean", "last"]
    assert ends(lives) == [("body", "stopped"), ("run", "stopped")]


def test_a_body_that_cleans_up_has_as_long_as_the_grace_of_the_stop(lives: Lives) -> None:
    start(lives, definition([sub("approval"), LAST]))
    command(lives, "pause")
    crash(lives)
    command(lives, "stop", grace_ms=20_000)
    lives.pass_time(19)
    lives.rest()
    assert lives.board.waiting() == ["sub/clean"]
    lives.pass_time(2)
    lives.rest()
    assert lives.board.waiting() == ["last"]
    assert ends(lives) == [("body", "stopped")]


def test_a_terminating_stop_does_not_wait_for_a_body_that_cleans_up(lives: Lives) -> None:
    start(lives, definition([sub("approval"), LAST]))
    command(lives, "pause")
    crash(lives)
    command(lives, "stop", grace_ms=30_000)
    command(lives, "stop", grace_ms=None)
    assert sorted(ends(lives)) == [("body", "stopped"), ("run", "stopped")]
    assert not lives.board.waiting()


def test_a_failed_run_lets_a_body_clean_up_whose_node_had_found_no_slot_to_begin_again(lives: Lives) -> None:
    gates = [node(f"g{number}", "model.safe") for number in range(SLOTS)]
    after = [node(f"x{number}") for number in range(SLOTS)]
    edges = [edge for n in range(SLOTS) for edge in (f"first>g{n}", f"g{n}>x{n}")]
    start(lives, definition([sub("approval"), node("first", "model.safe"), *gates, *after, LAST], *edges))
    opens(lives, "first")
    # What has the longest path ahead goes first, and takes all slots.
    crash(lives)
    assert lives.board.waiting() == ["g0", "g1", "g2"]
    opens(lives, "g0", FAILS)
    for gate in ("g1", "g2"):
        opens(lives, gate)
    assert lives.board.waiting() == ["sub/clean"]
    opens(lives, "sub/clean")
    lives.pass_time(60)
    lives.rest()
    assert lives.board.waiting() == ["last"]
    opens(lives, "last")
    assert ends(lives) == [("body", "stopped"), ("run", "error")]


def test_the_finally_nodes_of_a_run_that_nobody_stops_have_all_time_when_they_begin_after_a_crash(lives: Lives) -> None:
    start(
        lives, definition([node("sub", "workflow", workflow={"nodes": [node("in", "model.safe")], "edges": []}), LAST])
    )
    lives.store.die_at(2, keeps=True)
    opens(lives, "sub/in")
    lives.pass_time(60)
    lives.rest()
    assert lives.board.waiting() == ["last"]
    opens(lives, "last")
    assert ends(lives) == [("body", "success"), ("run", "success")]
