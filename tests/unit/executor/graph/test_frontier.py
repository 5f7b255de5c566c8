"""Facts about the frontier, which must decide as the reference does, in whatever order nodes finish."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.executor.graph.canvas import graph_of
from tests.unit.executor.graph.cases import FAILS, Case, cases, edge_outcome, reference
from weftline_executor.graph import Frontier, Resolution
from weftline_executor.graph.joins import Join, Verdict
from weftline_executor.model.states import SkipReason


def play(case: Case, pick: Callable[[list[int]], int]) -> tuple[dict[int, SkipReason | None], Frontier]:
    """Runs a case, finishing at each step one of the running nodes; asserts that each node is decided once."""
    frontier = Frontier(case.graph())
    decided: dict[int, SkipReason | None] = {}
    running: list[int] = []

    def take(resolution: Resolution) -> None:
        for node, reason in [*((node, None) for node in resolution.ready), *resolution.skipped]:
            assert node not in decided
            decided[node] = reason
        running.extend(resolution.ready)
        assert frontier.undecided == case.size - len(decided)

    take(frontier.begin())
    while running:
        node = running.pop(pick(running))
        outcome = case.outcomes[node]
        take(frontier.failed(node) if outcome == FAILS else frontier.succeeded(node, outcome))
    return decided, frontier


@settings(max_examples=300)
@given(cases(), st.data())
def test_every_node_is_decided_once_and_as_the_rules_say_in_whatever_order_nodes_finish(
    case: Case, data: st.DataObject
) -> None:
    decided, frontier = play(case, lambda running: data.draw(st.integers(0, len(running) - 1)))
    assert decided == reference(case)
    assert frontier.undecided == 0
    for node in range(case.size):
        taken = [
            number
            for number, (_, target) in enumerate(case.edges)
            if target == node and edge_outcome(case, decided, number) is None
        ]
        assert frontier.taken_edges(node) == taken


@given(cases())
def test_the_work_is_linear_in_the_graph(case: Case) -> None:
    calls = 0
    decide = Join.decide

    def counted(join: Join, *, edges: int, taken: int, failed: int, skipped: int) -> Verdict:
        nonlocal calls
        calls += 1
        return decide(join, edges=edges, taken=taken, failed=failed, skipped=skipped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Join, "decide", counted)
        play(case, lambda running: 0)
    assert calls <= case.size + len(case.edges)


def test_a_chain_of_skips_can_be_as_long_as_a_graph() -> None:
    size = 20_000
    frontier = Frontier(graph_of(size, [(at, at + 1) for at in range(size - 1)]))
    frontier.begin()
    resolution = frontier.failed(0)
    assert len(resolution.skipped) == size - 1
    assert {reason for _, reason in resolution.skipped} == {SkipReason.UPSTREAM_FAILED}


def test_a_join_whose_last_arrival_is_a_skip_runs() -> None:
    # 0 is taken, 1 goes the other way so that 2 is skipped, and 3 joins 0 and 2.
    frontier = Frontier(graph_of(4, [(0, 3), (1, 2), (2, 3)], handles={1: "left"}))
    assert frontier.begin().ready == [0, 1]
    assert frontier.succeeded(0).ready == []
    resolution = frontier.succeeded(1, "right")
    assert (resolution.skipped, resolution.ready) == ([(2, SkipReason.BRANCH_NOT_TAKEN)], [3])


def test_two_arrivals_at_once_wake_a_join_once() -> None:
    frontier = Frontier(graph_of(2, [(0, 1), (0, 1)]))
    frontier.begin()
    assert frontier.succeeded(0).ready == [1]
    joined = Frontier(graph_of(2, [(0, 1), (0, 1)], joins={1: Join("one_success")}))
    joined.begin()
    assert joined.succeeded(0).ready == [1]


def test_a_false_condition_is_told_from_a_branch_not_taken() -> None:
    graph = graph_of(3, [(0, 1), (0, 2)], handles={0: "true", 1: "false"}, types={0: "condition"})
    frontier = Frontier(graph)
    frontier.begin()
    assert frontier.succeeded(0, "false").skipped == [(1, SkipReason.CONDITION_FALSE)]
    frontier = Frontier(graph)
    frontier.begin()
    assert frontier.succeeded(0, "true").skipped == [(2, SkipReason.BRANCH_NOT_TAKEN)]


def test_a_node_that_waits_for_nobody_begins_though_it_has_parents() -> None:
    frontier = Frontier(graph_of(2, [(0, 1)], joins={1: Join("always")}))
    assert frontier.begin().ready == [0, 1]
    assert frontier.succeeded(0).ready == []


def test_what_is_left_when_a_run_ends_is_decided_in_the_order_of_the_definition() -> None:
    frontier = Frontier(graph_of(4, [(0, 2), (1, 3)]))
    frontier.begin()
    assert frontier.skip_rest() == [2, 3]
    assert (frontier.undecided, frontier.skip_rest()) == (0, [])
    assert frontier.succeeded(0).ready == []
