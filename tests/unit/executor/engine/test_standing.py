"""Facts about what a node reads of its run, and where a run stands after its process died."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from tests.unit.executor.graph.canvas import graph_of
from tests.unit.executor.graph.cases import FAILS, Case, cases, reference
from weftline_executor.engine.inputs import MAX_DECODED_BYTES, RunData
from weftline_executor.engine.rebuild import rebuild
from weftline_executor.graph import Frontier, Graph, Resolution
from weftline_executor.graph.definition import EdgeDef, NodeDef, RunConfig
from weftline_executor.model import events as model
from weftline_executor.model.states import SkipReason
from weftline_executor.replay import RunProjection


class History:
    """A run's events as they are written, with its projection."""

    def __init__(self, size: int) -> None:
        self.projection = RunProjection("w", "r")
        self.projection.apply(model.RunStarted(1, 1, Raw(b"{}"), size))

    def _seq(self) -> int:
        return self.projection.seq + 1

    def run(self, node: int) -> None:
        """A node starts."""
        self.projection.apply(model.NodeRunning(self._seq(), 1, str(node), 1))

    def succeed(self, node: int, output: bytes = b"", handle: str = "") -> None:
        """A running node succeeds."""
        raw = Raw(output) if output else model.NO_JSON
        self.projection.apply(model.NodeSucceeded(self._seq(), 1, str(node), 1, 1, raw, handle))

    def fail(self, node: int) -> None:
        """A running node fails."""
        self.projection.apply(model.NodeFailed(self._seq(), 1, str(node), 1, 1, "it failed", "node_failed"))

    def skip(self, node: int, reason: SkipReason) -> None:
        """A node is skipped."""
        self.projection.apply(model.NodeSkipped(self._seq(), 1, str(node), reason))


@settings(max_examples=200)
@given(cases(), st.data())
def test_a_run_cut_off_anywhere_goes_on_to_the_same_end(case: Case, data: st.DataObject) -> None:
    history, graph = History(case.size), case.graph()
    steps = data.draw(st.integers(0, 3 * case.size))
    live, running, unsaid = Frontier(graph), list[int](), list[tuple[int, SkipReason]]()
    resolution = live.begin()
    ready = list(resolution.ready)
    unsaid += resolution.skipped
    # Whatever the frontier said of skips may or may not have been written when the process died.
    for _ in range(steps):
        choices = [("start", node) for node in ready] + [("end", node) for node in running]
        choices += [("skip", at) for at in range(len(unsaid))]
        if not choices:
            break
        act, which = data.draw(st.sampled_from(choices))
        if act == "start":
            ready.remove(which)
            running.append(which)
            history.run(which)
        elif act == "skip":
            history.skip(*unsaid.pop(which))
        else:
            running.remove(which)
            resolution = end(case, history, live, which)
            ready += resolution.ready
            unsaid += resolution.skipped
    standing = rebuild(graph, history.projection)
    assert sorted(standing.ready) == sorted(ready)
    assert sorted(standing.interrupted) == sorted(running)
    assert sorted(standing.skipped) == sorted(unsaid)
    assert standing.frontier.undecided == live.undecided
    for node in range(case.size):
        assert standing.frontier.taken_edges(node) == live.taken_edges(node)
    known = reference(case)
    assert all(known[node] is None for node in (*standing.ready, *standing.interrupted))
    assert all(known[node] is reason for node, reason in standing.skipped)


def end(case: Case, history: History, frontier: Frontier, node: int) -> Resolution:
    """A running node ends as its case says."""
    if case.outcomes[node] == FAILS:
        history.fail(node)
        return frontier.failed(node)
    history.succeed(node, handle=case.outcomes[node])
    return frontier.succeeded(node, case.outcomes[node])


def joined(*handles: str) -> Graph:
    """Nodes that all lead to a last one, each to the input handle given for it."""
    last = len(handles)
    nodes = [NodeDef(str(at), "task", {}, at) for at in range(last + 1)]
    edges = [EdgeDef(str(at), str(last), "", handle, at) for at, handle in enumerate(handles)]
    return Graph(nodes, edges, RunConfig(params={"p": 1}))


def given_outputs(graph: Graph, outputs: dict[int, bytes]) -> tuple[RunData, Frontier]:
    """A run in which these nodes succeeded with these outputs."""
    history, frontier = History(len(graph)), Frontier(graph)
    frontier.begin()
    for node, output in outputs.items():
        history.run(node)
        history.succeed(node, output)
        frontier.succeeded(node)
    return RunData(graph, history.projection), frontier


def test_inputs_come_by_handle_and_several_at_one_handle_in_the_order_of_the_definition() -> None:
    graph = joined("left", "right", "right")
    data, frontier = given_outputs(graph, {2: b"2", 0: b'{"n":0}', 1: b""})
    assert data.inputs(3, frontier.taken_edges(3)) == {"left": {"n": 0}, "right": [None, 2]}
    assert data.inputs(0, frontier.taken_edges(0)) == {}


def test_a_handle_where_several_may_arrive_holds_a_list_though_one_did() -> None:
    data, frontier = given_outputs(joined("x", "x"), {1: b"1"})
    assert data.inputs(2, frontier.taken_edges(2)) == {"x": [1]}


def test_only_what_succeeded_can_be_read() -> None:
    graph = graph_of(3, [])
    history = History(3)
    history.run(0)
    history.succeed(0, b"[1]")
    history.run(1)
    history.fail(1)
    data = RunData(graph, history.projection)
    assert dict(data) == {"0": {"output": [1]}}
    assert (len(data), "1" in data, "2" in data, data.get("zz")) == (1, False, False, None)
    assert data.scope({"h": 1}, {"id": "r"}).variables() == {
        **{"nodes": data, "inputs": {"h": 1}, "params": {}},
        "run": {"id": "r"},
    }


def test_more_outputs_can_be_read_than_are_kept_decoded() -> None:
    text, count = "x" * 30_000, MAX_DECODED_BYTES // 30_000 + 10
    data, _ = given_outputs(graph_of(count, []), dict.fromkeys(range(count), f'"{text}"'.encode()))
    assert all(data[str(at)]["output"] == text for at in range(count))
    assert len(data._decoded) * len(text) <= MAX_DECODED_BYTES
