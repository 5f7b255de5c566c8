"""A claim is met, not met, void or without a peer, and a median of figures is void when one of them is."""

from pathlib import Path

import pytest

from bench.claims import Claim, Outcome, Target, Verdict, at_least, at_most, least, middle
from bench.fanout.plans import Plan
from bench.report import BEGIN, END, document, table


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


MACHINE = {
    "cores": 2,
    "architecture": "x86_64",
    "memoryGiB": 8,
    "system": "Linux 6.1",
    "python": "3.11.7",
    "node": "v20.1.0",
    "loadBefore": 0.1,
}


def test_a_document_gets_the_table_between_its_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "document.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    outcome = Outcome("fanout", [Claim("load", "CPU", "s", 1.0)], {})
    for _ in range(2):
        document([outcome], MACHINE, path)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert text.count(table([outcome])) == 1
    assert "2 cores (x86_64), 8 GiB" in text
    assert "old" not in text


def test_a_benchmark_with_marks_of_its_own_leaves_the_other_table_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "document.md"
    path.write_text(f"{BEGIN}\nothers\n{END}\n<!-- figures of eta -->\nold\n<!-- end of figures of eta -->\nafter\n")
    outcome = Outcome("eta", [Claim("load", "off", "", 1.0)], {})
    for _ in range(2):
        document([outcome], MACHINE, path)
    text = path.read_text()
    assert text.startswith(f"{BEGIN}\nothers\n{END}\n<!-- figures of eta -->\n2 cores")
    assert text.count(table([outcome])) == 1
    assert text.endswith("<!-- end of figures of eta -->\nafter\n")
    assert "old" not in text


def test_a_document_without_marks_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "document.md"
    path.write_text("no marks\n")
    with pytest.raises(ValueError, match="has no"):
        document([], MACHINE, path)
    assert path.read_text() == "no marks\n"
