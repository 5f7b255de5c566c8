"""Facts about the frontier, against a reference that looks at a whole graph at once, with all outcomes known."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.executor.graph.canvas import graph_of
from weftline_executor.graph import Frontier, Graph, Resolution
from weftline_executor.graph.joins import RULES, Join, Verdict
from weftline_executor.model.states import SkipReason

FAILS = "fails"
HANDLES = ("", "left", "right")

# What each rule asks of the numbers of in-edges: all of them, and those taken, failed and skipped.
REFERENCE_RULES: dict[str, Callable[[int, int, int, int, int], bool]] = {
    "none_failed_min_one_success": lambda k, edges, taken, failed, skipped: not failed and taken >= 1,
    "all_success": lambda k, edges, taken, failed, skipped: taken == edges,
    "all_done": lambda k, edges, taken, failed, skipped: True,
    "one_success": lambda k, edges, taken, failed, skipped: taken >= 1,
    "one_failed": lambda k, edges, taken, failed, skipped: failed >= 1,
    "none_failed": lambda k, edges, taken, failed, skipped: not failed,
    "always": lambda k, edges, taken, failed, skipped: True,
    "n_of": lambda k, edges, taken, failed, skipped: taken >= k,
}
WEIGHT = [
    SkipReason.UPSTREAM_SKIPPED,
    SkipReason.BRANCH_NOT_TAKEN,
    SkipReason.CONDITION_FALSE,
    SkipReason.UPSTREAM_FAILED,
]


@dataclass(frozen=True, slots=True)
class Case:
    """A graph, and what becomes of each node if it runs: a handle fires (empty: all), or it fails."""

    size: int
    edges: tuple[tuple[int, int], ...]
    handles: tuple[str, ...]
    joins: dict[int, Join]
    outcomes: tuple[str, ...]

    def graph(self) -> Graph:
        """The graph."""
        return graph_of(self.size, self.edges, self.joins, dict(enumerate(self.handles)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small graphs with every join rule, parallel edges and branching nodes."""
    size = draw(st.integers(1, 7))
    pairs = [(source, target) for target in range(size) for source in range(target)]
    edges = tuple(draw(st.lists(st.sampled_from(pairs), max_size=12))) if pairs else ()
    rules = st.sampled_from(RULES).map(lambda rule: Join(rule, 2 if rule == "n_of" else 0))
    return Case(
        size,
        edges,
        tuple(draw(st.lists(st.sampled_from(HANDLES), min_size=len(edges), max_size=len(edges)))),
        draw(st.dictionaries(st.integers(0, size - 1), rules, max_size=size)),
        tuple(draw(st.lists(st.sampled_from((*HANDLES, FAILS)), min_size=size, max_size=size))),
    )


def reference(case: Case) -> dict[int, SkipReason | None]:
    """What becomes of each node: None when it runs, else why it is skipped."""
    decided: dict[int, SkipReason | None] = {}
    for node in range(case.size):
        arrived = [
            edge_outcome(case, decided, number) for number, (_, target) in enumerate(case.edges) if target == node
        ]
        join = case.joins.get(node, Join())
        failed = arrived.count(SkipReason.UPSTREAM_FAILED)
        taken = arrived.count(None)
        runs = REFERENCE_RULES[join.rule](join.count, len(arrived), taken, failed, len(arrived) - taken - failed)
        heaviest = max((WEIGHT.index(reason) for reason in arrived if reason is not None), default=0)
        decided[node] = None if runs or not arrived else WEIGHT[heaviest]
    return decided


def edge_outcome(case: Case, decided: dict[int, SkipReason | None], number: int) -> SkipReason | None:
    """None when the edge is taken, else the reason that it gives for a skip."""
    source, handle = case.edges[number][0], case.handles[number]
    if decided[source] is not None:
        failed = decided[source] is SkipReason.UPSTREAM_FAILED
        return SkipReason.UPSTREAM_FAILED if failed else SkipReason.UPSTREAM_SKIPPED
    outcome = case.outcomes[source]
    if outcome == FAILS:
        return SkipReason.UPSTREAM_FAILED
    return None if not outcome or not handle or handle == outcome else SkipReason.BRANCH_NOT_TAKEN


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
