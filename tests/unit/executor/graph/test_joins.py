"""Facts about join rules, for every number of parents up to five and everything that can become of them."""

from collections.abc import Iterator

import pytest

from tests.unit.executor.graph.cases import REFERENCE_RULES
from weftline_executor.graph.joins import DEFAULT_JOIN, RULES, Join, Verdict

MOST = 5
JOINS = [Join(rule) for rule in RULES if rule != "n_of"] + [Join("n_of", count) for count in range(1, MOST + 1)]


def arrivals(edges: int) -> Iterator[tuple[int, int, int]]:
    """All that may have arrived so far over so many edges: taken, failed and skipped."""
    for taken in range(edges + 1):
        for failed in range(edges - taken + 1):
            for skipped in range(edges - taken - failed + 1):
                yield taken, failed, skipped


@pytest.mark.parametrize("join", JOINS, ids=[f"{join.rule}-{join.count}" for join in JOINS])
@pytest.mark.parametrize("edges", range(1, MOST + 1))
def test_a_rule_decides_once_all_have_arrived_and_before_only_what_nothing_can_change(join: Join, edges: int) -> None:
    def runs_in_the_end(taken: int, failed: int, skipped: int) -> bool:
        return REFERENCE_RULES[join.rule](join.count, edges, taken, failed, skipped)

    for taken, failed, skipped in arrivals(edges):
        verdict = join.decide(edges=edges, taken=taken, failed=failed, skipped=skipped)
        missing = edges - taken - failed - skipped
        if not missing:
            assert verdict is (Verdict.RUN if runs_in_the_end(taken, failed, skipped) else Verdict.SKIP)
            continue
        assert verdict is Verdict.WAIT or (verdict is Verdict.RUN and join.early)
        if verdict is Verdict.RUN:
            ends = [(taken + t, failed + f, skipped + s) for t, f, s in arrivals(missing) if t + f + s == missing]
            assert all(runs_in_the_end(*end) for end in ends)


@pytest.mark.parametrize("rule", ["one_success", "one_failed", "always"])
def test_an_early_rule_does_not_wait_for_the_others(rule: str) -> None:
    assert Join(rule).decide(edges=9, taken=1, failed=1, skipped=0) is Verdict.RUN


def test_n_of_runs_at_the_nth() -> None:
    verdicts = [Join("n_of", 2).decide(edges=3, taken=taken, failed=0, skipped=0) for taken in range(3)]
    assert verdicts == [Verdict.WAIT, Verdict.WAIT, Verdict.RUN]


def test_the_rule_of_a_node_that_names_none() -> None:
    assert Join("none_failed_min_one_success") == DEFAULT_JOIN
