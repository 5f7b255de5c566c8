"""Facts about how a run is expected to go, and about the critical paths of runs."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from weftline_executor.engine.estimate import DurationHistory, RunEstimate, filled
from weftline_executor.engine.expected import expected_durations
from weftline_executor.engine.planning import MAX_TIMELINE, PlannedNode, path_of_active, path_of_ended, plan
from weftline_executor.graph import Graph
from weftline_executor.graph.definition import EdgeDef, NodeDef, RunConfig
from weftline_executor.model import events as model
from weftline_executor.model.states import Handling, PendingReason, RunState, SkipReason
from weftline_executor.nodes import Registry
from weftline_executor.replay import RunProjection

BEGAN = 1_000_000


def graph_of(nodes: str, *edges: str) -> Graph:
    """A graph of nodes named by a letter each, and edges such as `ab`."""
    made = [NodeDef(name, "noop", {}, at) for at, name in enumerate(nodes)]
    return Graph(made, [EdgeDef(edge[0], edge[1], "", "input", at) for at, edge in enumerate(edges)], RunConfig())


class History:
    """A run's projection, told in ms since its beginning."""

    def __init__(self, size: int) -> None:
        self.projection = RunProjection("w", "r")
        self.projection.apply(model.RunStarted(1, BEGAN, Raw(b"{}"), size))

    @property
    def _seq(self) -> int:
        return self.projection.seq + 1

    def start(self, node: str, at: int, attempt: int = 1) -> None:
        self.projection.apply(model.NodeRunning(self._seq, BEGAN + at, node, attempt))

    def succeed(self, node: str, at: int, until: int) -> None:
        self.start(node, at)
        self.projection.apply(model.NodeSucceeded(self._seq, BEGAN + until, node, 1, until - at))

    def fail(self, node: str, at: int, until: int, handled: Handling = Handling.NONE) -> None:
        self.start(node, at)
        self.projection.apply(
            model.NodeFailed(self._seq, BEGAN + until, node, 1, until - at, "no", "no", handled=handled)
        )

    def skip(self, node: str, at: int) -> None:
        self.projection.apply(model.NodeSkipped(self._seq, BEGAN + at, node, SkipReason.UPSTREAM_SKIPPED))


def test_an_ended_run_was_as_long_as_the_chain_of_nodes_that_ended_last() -> None:
    history = History(5)
    history.succeed("a", 5, 100)
    history.succeed("b", 101, 900)
    history.succeed("c", 101, 300)
    history.skip("x", 300)
    history.fail("d", 901, 950)
    graph = graph_of("abcdx", "ab", "ac", "bd", "cx", "xd")
    assert path_of_ended(graph, history.projection) == [
        PlannedNode("a", 5, 100),
        PlannedNode("b", 101, 900),
        PlannedNode("d", 901, 950),
    ]


def test_a_run_in_which_nothing_ran_has_no_critical_path() -> None:
    history = History(1)
    history.skip("a", 1)
    assert path_of_ended(graph_of("a"), history.projection) == []


def test_of_an_active_run_the_path_is_measured_up_to_now_and_expected_from_then() -> None:
    graph = graph_of("abcd", "ab", "ac", "bd", "cd")
    history = History(4)
    history.succeed("a", 0, 100)
    history.start("b", 100)
    history.start("c", 100)
    estimate = RunEstimate(graph, [100.0, 50.0, 500.0, 30.0], 4)
    estimate.finish(0)
    found = path_of_active(graph, history.projection, estimate, {1: 20, 2: 20}, BEGAN + 120)
    assert found == [
        PlannedNode("a", 0, 100),
        PlannedNode("c", 100, 600, expected=True),
        PlannedNode("d", 600, 630, expected=True),
    ]


def test_a_node_that_waits_for_its_retry_is_expected_when_that_is_due() -> None:
    graph = graph_of("ab", "ab")
    history = History(2)
    history.fail("a", 0, 10, Handling.RETRY)
    pending = model.NodePending(history.projection.seq + 1, BEGAN + 10, "a", 2, PendingReason.RETRY, BEGAN + 1010)
    history.projection.apply(pending)
    estimate = RunEstimate(graph, [100.0, 50.0], 4)
    found = path_of_active(graph, history.projection, estimate, {}, BEGAN + 510)
    assert found == [PlannedNode("a", 1010, 1110, expected=True), PlannedNode("b", 1110, 1160, expected=True)]


def test_a_failed_node_that_will_run_again_is_in_the_path_once() -> None:
    graph = graph_of("ab", "ab")
    history = History(2)
    history.fail("a", 0, 10, Handling.PAUSE)
    found = path_of_active(graph, history.projection, RunEstimate(graph, [100.0, 50.0], 4), {}, BEGAN + 20)
    assert [(each.node_id, each.start) for each in found] == [("a", 20), ("b", 120)]


def test_without_a_basis_or_in_a_run_that_stops_nothing_is_expected() -> None:
    graph = graph_of("abc", "ab", "bc")
    history = History(3)
    history.succeed("a", 0, 100)
    history.start("b", 100)
    measured = [PlannedNode("a", 0, 100)]
    assert path_of_active(graph, history.projection, RunEstimate(graph, [None] * 3, 4), {1: 5}, BEGAN + 105) == measured
    known = RunEstimate(graph, [100.0] * 3, 4)
    known.finish(0)
    history.projection.apply(model.RunStopping(history.projection.seq + 1, BEGAN + 110, RunState.STOPPING))
    assert path_of_active(graph, history.projection, known, {1: 15}, BEGAN + 115) == measured


def test_a_plan_keeps_to_the_limit_and_names_the_longest_path() -> None:
    graph = graph_of("abcd", "ab", "ac", "bd", "cd")
    found = plan(graph, [10.0, 50.0, None, 5.0], 1)
    average = 65 / 3
    assert (found.duration, found.peak, found.known) == (round(65 + average), 1, 3)
    assert found.critical_path == ["a", "b", "d"]
    assert [each.node_id for each in found.timeline] == ["a", "b", "c", "d"]
    assert all(first.end <= second.start + 1 for first, second in pairwise(found.timeline))
    assert all(each.expected for each in found.timeline)


@given(st.lists(st.none() | st.floats(1, 1e6), min_size=1, max_size=30), st.integers(1, 40))
def test_a_plan_of_nodes_without_edges_is_full_until_nothing_waits(expected: list[float | None], slots: int) -> None:
    graph = Graph([NodeDef(str(at), "noop", {}, at) for at in range(len(expected))], [], RunConfig())
    found = plan(graph, expected, slots)
    assert found.peak == min(slots, len(expected))
    assert found.duration == pytest.approx(max(each.end for each in found.timeline), abs=1)
    assert len(found.critical_path) == 1


def test_the_timeline_of_a_large_plan_is_cut() -> None:
    size = MAX_TIMELINE + 5
    graph = Graph([NodeDef(str(at), "noop", {}, at) for at in range(size)], [], RunConfig())
    found = plan(graph, [10.0] * size, 100)
    assert len(found.timeline) == MAX_TIMELINE
    assert found.duration == round(10.0 * -(-size // 100))


def test_what_was_measured_of_a_kind_goes_before_what_is_declared_and_that_before_the_type() -> None:
    kinds = [("delay", b"2"), ("delay", b"3"), ("test.step", b""), ("delay", b"")]
    data: list[dict[str, object]] = [{"seconds": 2}, {"seconds": 3}, {}, {"seconds": "{{ params.x }}"}]
    nodes = [NodeDef(str(at), kind[0], data[at], at, kind=kind) for at, kind in enumerate(kinds)]
    history = DurationHistory()
    history.record(kinds[1], 40)
    graph = Graph(nodes, [], RunConfig())
    assert expected_durations(graph, Registry.with_builtins(), history) == [2000, 40, None, 40]
    assert filled([2000, 40, None]) == [2000, 40, 1020]
