"""Where a run stood, worked out from its state: for runs that outlived their process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from weftline_executor.graph import Frontier, Graph, Resolution
from weftline_executor.model.states import Handling, NodeStatus, PendingReason, SkipReason
from weftline_executor.replay import NodeState, RunProjection

_OPEN = (NodeStatus.PENDING, NodeStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Standing:
    """The frontier of a run, and the nodes (by index) that are ready, were interrupted, or are to be skipped.

    Those on `hold` failed and wait for the run to be resumed.
    """

    frontier: Frontier
    ready: list[int]
    interrupted: list[int]
    skipped: list[tuple[int, SkipReason]]
    hold: list[int]


def resolve(frontier: Frontier, node: int, state: NodeState) -> Resolution:
    """Tells the frontier what became of a node that succeeded or failed, and gives what follows."""
    if state.status is NodeStatus.SUCCESS:
        return frontier.succeeded(node, state.handle)
    match state.handled:
        case Handling.NONE:
            return frontier.failed(node)
        case Handling.FAIL_BRANCH:
            return frontier.failed_over(node)
        case Handling.DEFAULT_VALUE:
            return frontier.succeeded(node)
        case Handling.PAUSE | Handling.RETRY:
            return Resolution()


def to_reset(graph: Graph, projection: RunProjection) -> set[int]:
    """The nodes of an ended run that another generation decides anew.

    Those are the ones that failed for good, those that the end kept from running, all skips below one of them, and the
    `finally` nodes.
    """
    reset: set[int] = set()
    for node in graph.order:
        state = projection.nodes.get(graph.nodes[node].id)
        if graph.nodes[node].policy.final or state is None or state.status in _OPEN:
            reset.add(node)
        elif state.status is NodeStatus.SKIPPED:
            below = any(graph.sources[edge] in reset for edge in graph.incoming[node])
            if below or state.reason == SkipReason.RUN_STOPPED:
                reset.add(node)
        elif state.status is NodeStatus.ERROR and state.handled in (Handling.NONE, Handling.PAUSE, Handling.RETRY):
            reset.add(node)
    return reset


def reusable(graph: Graph, projection: RunProjection, first: int) -> list[int]:
    """The nodes whose success another run can take over that begins anew with the node `first`.

    Those are the ones that follow neither from it nor from a node that did not succeed, in topological order.
    """
    anew = {first}
    kept: list[int] = []
    for node in graph.order:
        definition = graph.nodes[node]
        state = projection.nodes.get(definition.id)
        if node in anew or definition.policy.final or any(graph.sources[edge] in anew for edge in graph.incoming[node]):
            anew.add(node)
        elif state is not None and state.status is NodeStatus.SUCCESS:
            kept.append(node)
        elif state is None or state.status is not NodeStatus.SKIPPED or state.reason == SkipReason.RUN_STOPPED:
            anew.add(node)
    return kept


def _known(graph: Graph, projection: RunProjection, node: int) -> bool:
    """Whether something happened to a `finally` node since it was last reset, so that the run has come to those."""
    state = projection.nodes.get(graph.nodes[node].id)
    return graph.nodes[node].policy.final and state is not None and state.reason != PendingReason.RESET


def rebuild(graph: Graph, projection: RunProjection, without: Collection[int] = ()) -> Standing:
    """Replays what became of each node through a new frontier, of those in `without` as if nothing had."""
    frontier = Frontier(graph)
    decided: list[int] = []
    skipped: list[tuple[int, SkipReason]] = []

    def take(resolution: Resolution) -> None:
        decided.extend(resolution.ready)
        skipped.extend(resolution.skipped)

    def replay(final: bool) -> None:
        for node in graph.order:
            state = projection.nodes.get(graph.nodes[node].id)
            if graph.nodes[node].policy.final is not final or node in without or state is None:
                continue
            if state.status is NodeStatus.SKIPPED and state.reason == SkipReason.EMPTY_MAP:
                frontier.settle(node)
                take(frontier.skipped(node))
            elif state.status in (NodeStatus.SUCCESS, NodeStatus.ERROR):
                # It stays decided, even if something above it is decided anew.
                frontier.settle(node)
                take(resolve(frontier, node, state))

    take(frontier.begin())
    replay(final=False)
    if any(_known(graph, projection, node) for node in range(len(graph)) if node not in without):
        take(frontier.finish())
        replay(final=True)
    for node, definition in enumerate(graph.nodes):
        # What was skipped because the run was ending follows from nothing that the frontier has seen.
        state = projection.nodes.get(definition.id)
        if node not in without and state is not None and state.status is NodeStatus.SKIPPED:
            frontier.settle(node)

    def status(node: int) -> NodeStatus:
        state = projection.nodes.get(graph.nodes[node].id)
        return NodeStatus.PENDING if state is None or node in without else state.status

    return Standing(
        frontier,
        [node for node in decided if status(node) is NodeStatus.PENDING],
        [node for node in decided if status(node) is NodeStatus.RUNNING],
        [(node, reason) for node, reason in skipped if status(node) in _OPEN],
        [
            node
            for node in decided
            if status(node) is NodeStatus.ERROR
            and projection.nodes[graph.nodes[node].id].handled in (Handling.PAUSE, Handling.RETRY)
        ],
    )
