"""A claim is met, not met, void or without a peer, and a median of figures is void when one of them is."""

import pytest

from bench.claims import Claim, Outcome, Target, Verdict, at_least, at_most, least, middle
from bench.fanout.plans import Plan
from bench.report import table


@pytest.mark.parametrize(
    ("ours", "peer", "theirs", "target", "verdict"),
    [
        (3.0, "ws", 4.0, at_most(0.75), "met"),
        (3.1, "ws", 4.0, at_most(0.75), "not met"),
        (40.0, "ws", 4.0, at_least(10), "met"),
        (39.0, "ws", 4.0, at_least(10), "not met"),
        (5.0, "", None, at_most(5), "met"),
        (5.1, "", None, at_most(5), "not met"),
        (5.1, "", None, None, ""),
        (None, "ws", 4.0, at_most(0.75), "void"),
        (3.0, "ws", None, at_most(0.75), "no peer"),
    ],
)
def test_the_verdict_follows_from_the_ratio_or_without_a_peer_from_our_figure(
    ours: float | None, peer: str, theirs: float | None, target: Target | None, verdict: Verdict
) -> None:
    assert Claim("load", "measure", "", ours, peer, theirs, target).verdict == verdict


def test_one_void_figure_voids_what_is_drawn_from_it() -> None:
    assert middle([3.0, None, 1.0]) is None
    assert least([3.0, None, 1.0]) is None
    assert middle([]) is None
    assert middle([3.0, 2.0, 1.0]) == 2.0
    assert least([3.0, 2.0, 1.0]) == 1.0


def test_the_table_has_a_row_for_each_claim_with_its_ratio_and_verdict() -> None:
    claims = [Claim("load", "CPU", "s", 1.0, "ws", 4.0, at_most(0.2)), Claim("load", "rate", "", None)]
    lines = table([Outcome("fanout", claims, {})]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["fanout", "load", "CPU, s", "1", "ws", "4", "0.25", "≤ 0.2", "not met"]
    assert cells[3] == ["fanout", "load", "rate", "-", "", "", "", "", "void"]


@pytest.mark.parametrize(("count", "batch", "interval", "window"), [(10, 3, 1.0, 0), (10, 5, 0.0, 4)])
def test_a_plan_that_can_not_be_carried_out_is_refused(count: int, batch: int, interval: float, window: int) -> None:
    with pytest.raises(ValueError, match="batch"):
        Plan(count, batch, interval, window)
