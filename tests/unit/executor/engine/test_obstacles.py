"""Every node that has not ended and does not run waits for something, and for nothing that has ended."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from tests.unit.executor.graph.cases import FAILS, Case, cases
from weftline_executor.engine.obstacles import Line, Obstacle, WaitingFor, obstacles
from weftline_executor.engine.ready import ReadyQueue
from weftline_executor.engine.slots import Slots
from weftline_executor.graph import EdgeDef, Frontier, Graph, NodeDef, Resolution, RunConfig
from weftline_executor.graph.forecast import tails
from weftline_executor.graph.policy import Policy
from weftline_executor.model import events as model
from weftline_executor.model.states import NodeStatus, PendingReason
from weftline_executor.replay import RunProjection

NO_LINE = Line([], WaitingFor.START, ())


class Run:
    """A run that is played by hand: its projection, frontier and line."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.frontier = Frontier(graph)
        self.ready = ReadyQueue(tails(graph, [1.0] * len(graph)))
        self.projection = RunProjection("w", "r")
        self.running: set[int] = set()
        self._apply(model.RunStarted, Raw(b"{}"), len(graph))
        self.take(self.frontier.begin())

    def _apply(self, kind: Callable[..., model.Event], *fields: object) -> None:
        self.projection.apply(kind(self.projection.seq + 1, 1, *fields))

    def take(self, resolution: Resolution) -> None:
        for node in resolution.ready:
            self.ready.push(node)
        for node, reason in resolution.skipped:
            self._apply(model.NodeSkipped, self.graph.nodes[node].id, reason)

    def start(self) -> int:
        node = self.ready.pop()
        self.running.add(node)
        self._apply(model.NodeRunning, self.graph.nodes[node].id, 1)
        return node

    def end(self, node: int, outcome: str) -> None:
        self.running.discard(node)
        if outcome == FAILS:
            self._apply(model.NodeFailed, self.graph.nodes[node].id, 1, 1, "no", "no")
            self.take(self.frontier.failed(node))
        else:
            self._apply(model.NodeSucceeded, self.graph.nodes[node].id, 1, 1, model.NO_JSON, outcome)
            self.take(self.frontier.succeeded(node, outcome))

    def obstacles(self, holds: WaitingFor = WaitingFor.RUN_SLOT) -> dict[int, Obstacle]:
        line = Line(self.ready.line(), holds, self.running)
        return obstacles(self.graph, self.projection, self.frontier, line)

    def status(self, node: int) -> NodeStatus:
        state = self.projection.nodes.get(self.graph.nodes[node].id)
        return NodeStatus.PENDING if state is None else state.status


def check(run: Run) -> None:
    found = run.obstacles()
    pending = [node for node in range(len(run.graph)) if run.status(node) is NodeStatus.PENDING]
    assert sorted(found) == pending
    line = sorted((found[node].position, node) for node in pending if found[node].position)
    assert [position for position, _ in line] == list(range(1, len(run.ready) + 1))
    for node in pending:
        if found[node].waiting_for is WaitingFor.PARENTS:
            assert found[node].parent_count
            for parent in found[node].parents:
                at = run.graph.index[parent]
                assert run.status(at) in (NodeStatus.PENDING, NodeStatus.RUNNING)
                assert at in {run.graph.sources[edge] for edge in run.graph.incoming[node]}
        else:
            assert found[node].waiting_for is WaitingFor.RUN_SLOT


@settings(deadline=None)
@given(cases(), st.data())
def test_at_every_moment_of_a_run_every_pending_node_waits_for_something(case: Case, data: st.DataObject) -> None:
    run = Run(case.graph())
    check(run)
    while run.ready or run.running:
        if run.ready and (not run.running or data.draw(st.booleans())):
            first = run.ready.line()[0]
            assert run.start() == first
        else:
            node = data.draw(st.sampled_from(sorted(run.running)))
            run.end(node, case.outcomes[node])
        check(run)
    assert run.obstacles() == {}


def graph_of(*nodes: NodeDef, edges: tuple[str, ...] = ()) -> Graph:
    return Graph(nodes, [EdgeDef(edge[0], edge[1], "", "input", at) for at, edge in enumerate(edges)], RunConfig())


def plain(name: str, **policy: bool) -> NodeDef:
    return NodeDef(name, "noop", {}, 0, policy=Policy(**policy))  # type: ignore[arg-type]


def test_nodes_with_the_same_parents_share_what_is_said_of_them() -> None:
    names = "abcdefghijklm"
    graph = graph_of(*(plain(name) for name in names), edges=tuple(f"a{name}" for name in names[1:]))
    run = Run(graph)
    run.start()
    found = run.obstacles()
    assert len({id(obstacle) for obstacle in found.values()}) == 1
    assert found[1] == Obstacle(WaitingFor.PARENTS, ("a",), 1)


def test_two_edges_from_one_node_are_one_parent() -> None:
    run = Run(graph_of(plain("a"), plain("b"), edges=("ab", "ab")))
    assert run.obstacles()[1] == Obstacle(WaitingFor.PARENTS, ("a",), 1)


@pytest.mark.parametrize("holds", [WaitingFor.RESUME, WaitingFor.START, WaitingFor.END])
def test_without_a_limit_all_nodes_in_line_wait_for_the_same(holds: WaitingFor) -> None:
    run = Run(graph_of(plain("a"), plain("b")))
    assert run.obstacles(holds) == {0: Obstacle(holds), 1: Obstacle(holds)}


def test_a_node_whose_start_is_not_written_yet_is_about_to_start() -> None:
    graph = graph_of(plain("a"))
    run = Run(graph)
    node = run.ready.pop()
    line = Line([], WaitingFor.RUN_SLOT, {node})
    assert obstacles(graph, run.projection, run.frontier, line) == {0: Obstacle(WaitingFor.START)}


def test_a_node_whose_skip_is_not_written_yet_waits_for_nothing() -> None:
    graph = graph_of(plain("a"), plain("b"), edges=("ab",))
    run = Run(graph)
    run.start()
    run.projection.apply(model.NodeFailed(run.projection.seq + 1, 1, "a", 1, 1, "no", "no"))
    run.frontier.failed(0)
    assert obstacles(graph, run.projection, run.frontier, NO_LINE) == {}


def test_when_the_finally_nodes_run_all_others_wait_for_nothing() -> None:
    graph = graph_of(plain("a"), plain("b"), plain("z", final=True), edges=("ab",))
    run = Run(graph)
    run.ready.clear()
    assert run.obstacles()[2] == Obstacle(WaitingFor.END)
    run.frontier.skip_rest(but_finals=True)
    run.take(run.frontier.finish())
    assert run.obstacles() == {2: Obstacle(WaitingFor.RUN_SLOT, position=1)}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (PendingReason.RETRY, Obstacle(WaitingFor.RETRY, due=77)),
        (PendingReason.APPROVAL, Obstacle(WaitingFor.APPROVAL, due=77)),
        (PendingReason.EVENT, Obstacle(WaitingFor.EVENT, due=77, event="paid")),
        (PendingReason.RECOVERED, Obstacle(WaitingFor.START)),
    ],
)
def test_a_node_in_no_line_waits_for_what_its_event_said(reason: PendingReason, expected: Obstacle) -> None:
    graph = graph_of(plain("a"))
    run = Run(graph)
    run.start()
    details = Raw(b'{"event":"paid"}') if reason is PendingReason.EVENT else model.NO_JSON
    run.projection.apply(model.NodePending(run.projection.seq + 1, 1, "a", 1, reason, 77, details))
    assert obstacles(graph, run.projection, run.frontier, NO_LINE) == {0: expected}


def test_the_line_is_the_order_in_which_nodes_are_taken() -> None:
    queue = ReadyQueue([1, 3, 2, 3])
    for node in (0, 1, 2, 3):
        queue.push(node)
    queue.take_out(1)
    queue.push(1)
    line = queue.line()
    assert line == queue.line()
    assert line == [queue.pop() for _ in range(4)]
    assert queue.line() == []


def test_a_run_waits_for_a_slot_until_it_is_woken() -> None:
    slots, woken = Slots(1), list[int]()

    def wake() -> None:
        woken.append(1)

    assert slots.acquire(lambda: None)
    assert not slots.acquire(wake)
    assert slots.waits(wake)
    slots.release()
    assert woken
    assert not slots.waits(wake)
