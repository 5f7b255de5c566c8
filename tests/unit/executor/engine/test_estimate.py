"""Facts about measured durations and how far a run is."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.engine.estimate import KEPT_DURATIONS, MAX_KINDS, MAX_SIMULATED, DurationHistory, RunEstimate
from weftline_executor.graph import Graph
from weftline_executor.graph.definition import EdgeDef, NodeDef, RunConfig


def chain(size: int) -> Graph:
    """Nodes that follow one another."""
    nodes = [NodeDef(str(at), "noop", {}, at) for at in range(size)]
    edges = [EdgeDef(str(at), str(at + 1), "", "input", at) for at in range(size - 1)]
    return Graph(nodes, edges, RunConfig())


def test_the_expected_duration_is_the_median_of_the_kind_and_of_the_type() -> None:
    history = DurationHistory()
    assert (history.of_kind(("t", b"x")), history.of_type("t")) == (None, None)
    for duration in (10, 20, 1000):
        history.record(("t", b"x"), duration)
    history.record(("t", b"y"), 50)
    assert (history.of_kind(("t", b"x")), history.of_kind(("t", b"y"))) == (20, 50)
    assert (history.of_type("t"), history.of_kind(("t", b"z"))) == (35, None)


def test_only_the_newest_durations_count_and_none_is_nothing() -> None:
    history = DurationHistory()
    for _ in range(KEPT_DURATIONS):
        history.record(("t", b""), 1000)
    for _ in range(KEPT_DURATIONS):
        history.record(("t", b""), 0)
    assert history.of_kind(("t", b"")) == 1.0


def test_the_memory_of_a_history_is_bounded() -> None:
    history = DurationHistory()
    for number in range(MAX_KINDS + 100):
        history.record((f"t{number}", b""), 1)
    assert len(history._durations) == MAX_KINDS
    assert history.of_type("t0") is None


@given(
    st.lists(st.none() | st.floats(0, 1e7), min_size=1, max_size=8).flatmap(
        lambda expected: st.tuples(st.just(expected), st.permutations(range(len(expected))))
    ),
    st.lists(st.floats(0, 1), max_size=3).map(sorted),
)
def test_progress_only_grows_and_goes_from_nothing_to_all(
    run: tuple[list[float | None], list[int]], shares: list[float]
) -> None:
    expected, order = run
    estimate = RunEstimate(chain(len(expected)), expected, 4)
    told = [estimate.progress]
    for node in order:
        for share in shares:
            estimate.advance(node, share, 10)
            told.append(estimate.progress)
        estimate.finish(node)
        told.append(estimate.progress)
    assert told[0] == 0.0
    assert told[-1] == pytest.approx(1.0)
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(told))
    assert all(0.0 <= value <= 1.0 for value in told)


def test_a_node_that_is_told_twice_to_have_finished_counts_once() -> None:
    estimate = RunEstimate(chain(2), [1.0, 1.0], 1)
    estimate.finish(0)
    estimate.finish(0)
    estimate.advance(0, 0.5, 1)
    assert estimate.progress == 0.5


def test_nodes_weigh_by_their_duration_and_unknown_ones_by_the_average() -> None:
    estimate = RunEstimate(chain(3), [10.0, 30.0, None], 1)
    estimate.finish(0)
    assert estimate.progress == pytest.approx(10 / 60)
    estimate.finish(2)
    assert estimate.progress == pytest.approx(30 / 60)


def test_there_is_no_estimate_when_less_than_half_is_known() -> None:
    assert RunEstimate(chain(3), [10.0, None, None], 1).remaining({}, []) is None
    assert RunEstimate(chain(2), [10.0, None], 1).remaining({}, []) == 20


@pytest.mark.parametrize("size", [4, MAX_SIMULATED + 1])
def test_what_is_left_of_a_chain_is_the_sum_of_its_nodes(size: int) -> None:
    estimate = RunEstimate(chain(size), [100.0] * size, 8)
    assert estimate.remaining({}, [0]) == 100 * size
    assert estimate.remaining({0: 40}, []) == 100 * size - 40
    estimate.finish(0)
    assert estimate.remaining({}, [1]) == 100 * (size - 1)


def test_a_node_that_tells_its_progress_is_believed() -> None:
    estimate = RunEstimate(chain(1), [100.0], 1)
    estimate.advance(0, 0.25, 1000)
    assert estimate.remaining({0: 1000}, []) == 3000
    assert estimate.remaining({0: 2500}, []) == 1500


def test_there_is_no_estimate_of_a_time_that_nobody_can_mean() -> None:
    graph = chain(1)
    assert RunEstimate(graph, [1e300], 1).remaining({}, [0]) is None
    assert RunEstimate(graph, [float("inf")], 1).remaining({}, [0]) is None
