"""Waits are said in words, and plans are cut to what fits a screen."""

from io import StringIO

import pytest
from rich.console import Console

from tests.unit.cli import events as make
from weftline.v1 import events_pb2 as ev
from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.plans import MAX_ROWS, forecast_lines, path_table
from weftline_cli.screens.waits import waits_for
from weftline_cli.tables import MAX_NODES, nodes_table
from weftline_cli.view import RunView

NOW = make.BEGAN_MS


def view_of(*node_ids: str) -> RunView:
    view = RunView()
    view.replace(make.snapshot(1, statuses=dict.fromkeys(node_ids, ev.NODE_STATUS_PENDING)), NOW)
    return view


def shown(*lines: object) -> str:
    console = Console(file=StringIO(), width=200)
    for line in lines:
        console.print(line)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (ev.Waiting(waiting_for=ev.WAITING_FOR_PARENTS, parent_ids=["a"], parents=1), "A (a)"),
        (
            ev.Waiting(waiting_for=ev.WAITING_FOR_PARENTS, parent_ids=list("abcdefgh"), parents=20),
            "A (a), B (b), c and 17 more",
        ),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_RUN_SLOT, position=1), "a slot of this run, next in line"),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_EXECUTOR_SLOT, position=7), "a slot of the executor, number 7 in line"),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_RETRY, due_ms=NOW + 2500), "its next attempt, in 2.5 s"),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_APPROVAL), "an approval"),
        (
            ev.Waiting(waiting_for=ev.WAITING_FOR_EVENT, event="paid", due_ms=NOW),
            f"the event paid, until {text.moment(NOW)}",
        ),
        (ev.Waiting(waiting_for=ev.WAITING_FOR_RESUME), "weftline resume"),
        (ev.Waiting(), "something"),
    ],
)
def test_what_a_node_waits_for_is_said_in_words(waiting: ev.Waiting, words: str) -> None:
    assert waits_for(waiting, view_of("a", "b"), NOW) == words


@pytest.mark.parametrize("kind", sorted(set(ev.WaitingFor.values()) - {0}))
def test_every_kind_of_waiting_has_words(kind: ev.WaitingFor.ValueType) -> None:
    assert waits_for(ev.Waiting(waiting_for=kind), view_of("a"), NOW) != "something"
    assert text.waiting_for(kind) != "unknown"


def test_among_many_nodes_those_that_wait_for_somebody_are_shown() -> None:
    snapshot = make.snapshot(1, statuses={f"n{at}": ev.NODE_STATUS_PENDING for at in range(MAX_NODES + 10)})
    for node in snapshot.nodes:
        node.waiting.waiting_for = ev.WAITING_FOR_PARENTS
    snapshot.nodes[3].waiting.waiting_for = ev.WAITING_FOR_APPROVAL
    view = RunView()
    view.replace(snapshot, NOW)
    table, left_out = nodes_table(view, NOW, every=False)
    assert (table.row_count, left_out) == (1, MAX_NODES + 9)
    assert "an approval" in shown(table)


def planned(count: int) -> list[ws.PlannedNode]:
    """A chain in which each node takes 1 s and every tenth 10 s."""
    found, at = [], 0
    for number in range(count):
        took = 10_000 if number % 10 == 0 else 1_000
        found.append(ws.PlannedNode(node_id=f"n{number}", start_ms=at, end_ms=at + took, expected=True))
        at += took
    return found


def test_of_a_long_critical_path_the_ends_are_shown() -> None:
    table = path_table(planned(100))
    assert table.row_count == MAX_ROWS + 1
    assert "… 70 more" in shown(table)


def test_the_timeline_shows_the_longest_nodes_and_first_of_all_critical_ones() -> None:
    timeline = planned(400)
    forecast = ws.Forecast(duration_ms=timeline[-1].end_ms, known_nodes=400, timeline=timeline, critical_path=["n1"])
    text_shown = shown(*forecast_lines(forecast, 400))
    bars = [line.split()[0] for line in text_shown.splitlines() if "█" in line]
    assert len(bars) == MAX_ROWS
    assert bars[:3] == ["n0", "n1", "n10"]
    assert "… 370 shorter nodes" in text_shown


def test_a_forecast_that_knows_nothing_says_so_instead_of_a_number() -> None:
    forecast = ws.Forecast(duration_ms=3, known_nodes=0, timeline=planned(2), critical_path=["n0"])
    assert "run it once" in shown(*forecast_lines(forecast, 2))
    assert "█" not in shown(*forecast_lines(forecast, 2))
