"""The rest of a run is played through as it would be scheduled."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.graph import EdgeDef, Graph, NodeDef, RunConfig
from weftline_executor.graph.forecast import lower_bound, simulate, tails
from weftline_executor.graph.policy import Policy


def graph_of(count: int, edges: list[tuple[int, int]], finals: Collection[int] = ()) -> Graph:
    nodes = [NodeDef(f"n{at}", "noop", {}, at, policy=Policy(final=at in finals)) for at in range(count)]
    lines = [EdgeDef(f"n{source}", f"n{target}", "", "input", at) for at, (source, target) in enumerate(edges)]
    return Graph(nodes, lines, RunConfig())


@st.composite
def plans(draw: st.DrawFn) -> tuple[Graph, list[float], int]:
    count = draw(st.integers(1, 12))
    pairs = [(source, target) for target in range(count) for source in range(target)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    durations = draw(st.lists(st.integers(1, 50), min_size=count, max_size=count))
    # Edges lead to higher numbers only, so that the last ones may be `finally` nodes.
    finals = range(draw(st.integers(max(0, count - 3), count)), count)
    return graph_of(count, edges, finals), [float(duration) for duration in durations], draw(st.integers(1, 4))


def test_a_diamond_takes_its_longest_path_when_there_are_slots() -> None:
    graph = graph_of(4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    durations = [10.0, 50.0, 20.0, 5.0]
    found = simulate(graph, durations, tails(graph, durations), finished=[0] * 4, running={}, slots=8)
    assert (found.duration, found.peak) == (65.0, 2)


def test_with_one_slot_everything_takes_the_sum() -> None:
    graph = graph_of(4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    durations = [10.0, 50.0, 20.0, 5.0]
    assert simulate(graph, durations, tails(graph, durations), finished=[0] * 4, running={}, slots=1).duration == 85.0


def test_what_has_finished_takes_no_time_and_what_runs_takes_what_is_left_of_it() -> None:
    graph = graph_of(3, [(0, 1), (1, 2)])
    durations = [10.0, 50.0, 20.0]
    found = simulate(graph, durations, tails(graph, durations), finished=[1, 0, 0], running={1: 7.0}, slots=4)
    assert found.duration == pytest.approx(27.0)


@given(plans())
def test_the_simulation_keeps_to_the_slots_and_to_grahams_bounds(plan: tuple[Graph, list[float], int]) -> None:
    graph, durations, slots = plan
    tail = tails(graph, durations)
    finished = [0] * len(graph)
    found = simulate(graph, durations, tail, finished=finished, running={}, slots=slots)
    roots = [node for node, incoming in enumerate(graph.incoming) if not incoming]
    for node in graph.finals:
        assert all(found.starts[node] >= found.starts[other] + durations[other] for other in set(roots) - graph.finals)
    bound = lower_bound(durations, tail, work=sum(durations), running={}, waiting=roots, slots=slots)
    assert found.peak <= slots
    assert bound - 1e-6 <= found.duration <= sum(durations) / slots + max(tail) + 1e-6


def test_finally_nodes_come_when_all_others_have_ended_and_then_one_after_another() -> None:
    graph = graph_of(4, [(0, 2), (2, 3)], finals={2, 3})
    durations = [10.0, 50.0, 5.0, 7.0]
    assert tails(graph, durations) == [22.0, 62.0, 12.0, 7.0]
    found = simulate(graph, durations, tails(graph, durations), finished=[0] * 4, running={}, slots=8)
    assert list(found.starts) == [0.0, 0.0, 50.0, 55.0]
    assert (found.duration, found.peak) == (62.0, 2)
    rest = simulate(graph, durations, tails(graph, durations), finished=[1, 1, 0, 0], running={2: 3.0}, slots=8)
    assert rest.duration == 10.0
