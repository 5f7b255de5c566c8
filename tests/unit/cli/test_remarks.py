"""What happens to a watch itself is said in words, once, and on no other output than the screen's notices."""

import io
import json

import pytest

from weftline_cli.errors import BridgeUnavailableError
from weftline_cli.items import Connected, ExecutorAway, Lost, Remark, Restated, Served, Skipped, Unresumed
from weftline_cli.remarks import Remarks
from weftline_cli.screens.ndjson import NdjsonScreen


def said(*items: Remark, sum_up: bool = False) -> list[str]:
    out, errors = io.StringIO(), io.StringIO()
    remarks = Remarks(NdjsonScreen(out, errors))
    for item in items:
        remarks.show(item)
    if sum_up:
        remarks.sum_up()
    assert out.getvalue() == ""
    return errors.getvalue().splitlines()


def lost(attempt: int) -> Lost:
    return Lost("socket closed.", attempt, 0.5, "bridge")


def test_a_break_is_said_once_and_so_is_the_return_from_it() -> None:
    connected = Connected(exists=True)
    assert said(connected, lost(1), lost(2), connected, connected, lost(1)) == [
        "The connection to the bridge broke: socket closed. Trying again …",
        "Connected again.",
        "The connection to the bridge broke: socket closed. Trying again …",
    ]


def test_gaps_are_accounted_for() -> None:
    many = Skipped("wf", 13, 14, {"execution.log": 2}, "slow_client")
    one = Skipped("wf", 20, 20, {}, "of another version")
    assert said(many, one, sum_up=True) == [
        "Events 13 to 14 of wf were left out (2 execution.log): this watch was too slow.",
        "Event 20 of wf was left out: of another version.",
        "In all 3 events were left out.",
    ]
    assert len(said(many, sum_up=True)) == 1


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Served("conflating", 0), "This watch is behind: of progress the bridge sends only the newest."),
        (Served("normal", 0), "The bridge sends everything again."),
        (Served("sideways", 350), "The bridge serves this watch as sideways. It is 350 ms late."),
        (Restated("wf", "compacted"), "Of wf the state comes in place of events: the events are not kept any more."),
        (ExecutorAway(away=True), "The bridge has lost the executor, and looks for it."),
        (ExecutorAway(away=False), "The bridge has the executor again."),
        (Unresumed(2), "Of 2 more workflows the state comes in place of what was missed."),
    ],
)
def test_each_has_its_words(item: Remark, words: str) -> None:
    assert said(item) == [words]


def test_what_a_bridge_calls_things_can_not_steer_a_terminal() -> None:
    (words,) = said(Skipped("wf", 1, 1, {"a\x1b[2J": 1}, "b\x1b]0;"))
    assert "\x1b" not in words


def test_an_error_says_which_of_the_two_is_not_available() -> None:
    error = BridgeUnavailableError("ws://there/", "it is away.")
    assert str(error) == "The bridge at ws://there/ is not available: it is away."
    assert json.dumps(dict(error.data())) == '{"bridge": "ws://there/", "problem": "it is away."}'
