"""The critical path of a run is a chain of nodes that waited for one another, and as long as the run."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.executor.graph.test_forecast import graph_of, plans
from weftline_executor.graph import EdgeDef, Graph, NodeDef, RunConfig
from weftline_executor.graph.critical import Span, longest_path, measured_path
from weftline_executor.graph.forecast import simulate, tails
from weftline_executor.graph.joins import Join

Plan = tuple[Graph, list[float], int]


def played(graph: Graph, durations: list[float], slots: int) -> dict[int, Span]:
    """When each node runs in a simulated run."""
    found = simulate(graph, durations, tails(graph, durations), finished=bytearray(len(graph)), running={}, slots=slots)
    return {node: (start, start + durations[node]) for node, start in enumerate(found.starts)}


def is_path(graph: Graph, path: list[int]) -> bool:
    """Whether each node is the parent of the next, or the next the first of the `finally` nodes."""
    edges = set(zip(graph.sources, graph.targets, strict=True))
    return all(pair in edges or (pair[0] not in graph.finals and pair[1] in graph.finals) for pair in pairwise(path))


@given(plans())
def test_without_a_limit_the_measured_path_is_as_long_as_the_run(plan: Plan) -> None:
    graph, durations, _ = plan
    spans = played(graph, durations, slots=len(graph))
    last = max(spans, key=lambda node: spans[node][1])
    path = measured_path(graph, spans, last)
    assert is_path(graph, path)
    assert not graph.incoming[path[0]]
    assert path[-1] == last
    assert sum(durations[node] for node in path) == pytest.approx(spans[last][1])
    assert [spans[node][0] for node in path[1:]] == [spans[node][1] for node in path[:-1]]


@given(plans())
def test_whatever_the_limit_no_node_of_the_path_starts_before_the_one_before_it_ends(plan: Plan) -> None:
    graph, durations, slots = plan
    spans = played(graph, durations, slots)
    path = measured_path(graph, spans, max(spans, key=lambda node: spans[node][1]))
    assert is_path(graph, path)
    assert all(spans[first][1] <= spans[second][0] for first, second in pairwise(path))


@given(plans())
def test_the_longest_path_takes_as_long_as_the_run_without_a_limit(plan: Plan) -> None:
    graph, durations, _ = plan
    tail = tails(graph, durations)
    path = longest_path(graph, tail, max(range(len(graph)), key=tail.__getitem__))
    assert is_path(graph, path)
    assert sum(durations[node] for node in path) == pytest.approx(
        max(end for _, end in played(graph, durations, 99).values())
    )


@given(plans(), st.data())
def test_nodes_that_did_not_run_are_passed_through(plan: Plan, data: st.DataObject) -> None:
    graph, durations, slots = plan
    spans = played(graph, durations, slots)
    left_out = data.draw(st.sets(st.sampled_from(range(len(graph))), max_size=len(graph) - 1))
    ran = {node: span for node, span in spans.items() if node not in left_out}
    path = measured_path(graph, ran, max(ran, key=lambda node: ran[node][1]))
    assert set(path) <= set(ran)
    above = {node: graph.descendants(node) for node in range(len(graph))}
    for node in above.keys() - graph.finals:
        above[node] |= graph.finals
    assert all(second in above[first] for first, second in pairwise(path))
    # It goes on as long as anything that ran leads there.
    assert not any(path[0] in above[node] for node in ran)


def test_a_long_chain_of_skips_is_passed_through_without_recursion() -> None:
    size = 20_000
    graph = graph_of(size, list(pairwise(range(size))))
    assert measured_path(graph, {0: (0.0, 1.0), size - 1: (1.0, 2.0)}, size - 1) == [0, size - 1]


@pytest.mark.parametrize(("rule", "path"), [("one_success", [0, 2]), ("all_success", [1, 2])])
def test_a_join_that_starts_early_did_not_wait_for_what_ended_later(rule: str, path: list[int]) -> None:
    nodes = [NodeDef("fast", "noop", {}, 0), NodeDef("slow", "noop", {}, 1), NodeDef("join", "noop", {}, 2, Join(rule))]
    edges = [EdgeDef("fast", "join", "", "input", 0), EdgeDef("slow", "join", "", "input", 1)]
    spans = {0: (0.0, 10.0), 1: (0.0, 90.0), 2: (10.0, 100.0) if rule == "one_success" else (90.0, 100.0)}
    assert measured_path(Graph(nodes, edges, RunConfig()), spans, 2) == path


def test_a_join_that_waits_for_nobody_begins_its_path() -> None:
    nodes = [NodeDef("slow", "noop", {}, 0), NodeDef("join", "noop", {}, 1, Join("always"))]
    graph = Graph(nodes, [EdgeDef("slow", "join", "", "input", 0)], RunConfig())
    assert measured_path(graph, {0: (0.0, 50.0), 1: (0.0, 90.0)}, 1) == [1]
