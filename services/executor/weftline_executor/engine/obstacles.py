"""What keeps the nodes of a run from running, worked out from what the run knows of them; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from weftline_executor.graph import Frontier, Graph, Verdict
from weftline_executor.model.states import Handling, NodeStatus, PendingReason
from weftline_executor.replay import NodeState, RunProjection

NAMED_PARENTS = 8


class WaitingFor(StrEnum):
    """What kind of thing a node waits for."""

    PARENTS = "parents"
    RUN_SLOT = "run_slot"
    EXECUTOR_SLOT = "executor_slot"
    RETRY = "retry"
    APPROVAL = "approval"
    EVENT = "event"
    RESUME = "resume"
    END = "end"
    START = "start"


class Obstacle(msgspec.Struct, frozen=True, gc=False):
    """What a node waits for.

    `parents` names the first eight of the `parent_count` nodes before it that have not ended, `position` is its place
    in the line for a slot (1 for the next), `due` when the wait ends, in ms since the Unix epoch (0 when nobody knows),
    and `event` the name of the event that ends it.
    """

    waiting_for: WaitingFor
    parents: tuple[str, ...] = ()
    parent_count: int = 0
    position: int = 0
    due: int = 0
    event: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """The nodes of a run that could start, the next one first, and what `holds` them; `starting` ones are in no line.

    With `holds` END nothing starts any more, neither of those nor of any other but the `finally` nodes.
    """

    nodes: Sequence[int]
    holds: WaitingFor
    starting: Collection[int]


_END, _START, _RESUME = Obstacle(WaitingFor.END), Obstacle(WaitingFor.START), Obstacle(WaitingFor.RESUME)
_BY_REASON: Mapping[str, WaitingFor] = {
    PendingReason.RETRY: WaitingFor.RETRY,
    PendingReason.APPROVAL: WaitingFor.APPROVAL,
    PendingReason.EVENT: WaitingFor.EVENT,
}


def obstacles(graph: Graph, projection: RunProjection, frontier: Frontier, line: Line) -> dict[int, Obstacle]:
    """By index, what each node of an active run waits for that has not ended and does not run.

    A node whose skip is about to be written waits for nothing. Takes time proportional to the graph.
    """
    view = _View(graph, frontier, line)
    found: dict[int, Obstacle] = {}
    states, untouched = projection.nodes, view.is_untouched
    for node, definition in enumerate(graph.nodes):
        state = states.get(definition.id)
        if state is None and untouched(node):
            # Most nodes of a large graph: nothing has happened to them or because of them.
            found[node] = view.parents(node)
            continue
        if state is not None and state.status is not NodeStatus.PENDING and not _on_hold(state):
            continue
        obstacle = view.obstacle(node, definition.policy.final, state)
        if obstacle is not None:
            found[node] = obstacle
    return found


def _on_hold(state: NodeState) -> bool:
    """Whether a node failed and is tried again when the run is resumed."""
    return state.status is NodeStatus.ERROR and state.handled is Handling.PAUSE


class _View:
    """A run at one moment; what nodes wait for in the same way is made once."""

    def __init__(self, graph: Graph, frontier: Frontier, line: Line) -> None:
        self._graph = graph
        self._frontier = frontier
        self._line = line
        self._places = {node: position for position, node in enumerate(line.nodes, 1)}
        self._usual = line.holds is not WaitingFor.END and not frontier.has_finals
        self._alike: dict[tuple[int, ...], Obstacle] = {}

    def is_untouched(self, node: int) -> bool:
        """Whether a node to which nothing happened is one that waits for its parents and for nothing else."""
        return self._usual and self._frontier.verdict(node) is Verdict.WAIT

    def obstacle(self, node: int, final: bool, state: NodeState | None) -> Obstacle | None:
        """What a node waits for that is pending or on hold; None for one that will not run."""
        finishing = self._frontier.finishing
        if finishing and not final:
            return None
        if self._line.holds is WaitingFor.END or (final and not finishing):
            return _END
        if state is not None and state.status is NodeStatus.ERROR:
            return _RESUME
        position = self._places.get(node)
        return self._out_of_line(node, state) if position is None else self._in_line(position)

    def _out_of_line(self, node: int, state: NodeState | None) -> Obstacle | None:
        if node in self._line.starting:
            return _START
        verdict = self._frontier.verdict(node)
        if verdict is Verdict.WAIT:
            return self.parents(node)
        return _as_written(state) if verdict is Verdict.RUN else None

    def _in_line(self, position: int) -> Obstacle:
        holds = self._line.holds
        if holds is WaitingFor.RESUME:
            return _RESUME
        return _START if holds is WaitingFor.START else Obstacle(holds, position=position)

    def parents(self, node: int) -> Obstacle:
        """That a node waits for the nodes before it."""
        sources = tuple(self._frontier.unknown_sources(node))
        found = self._alike.get(sources)
        if found is None:
            nodes = self._graph.nodes
            named = [nodes[source].id for source in sources[:NAMED_PARENTS]]
            found = self._alike[sources] = Obstacle(WaitingFor.PARENTS, tuple(named), len(sources))
        return found


class _Details(msgspec.Struct):
    """What is read of what a waiting node said of its wait."""

    event: str = ""


def _as_written(state: NodeState | None) -> Obstacle:
    """What the event said that made a node wait."""
    waiting_for = _BY_REASON.get(state.reason) if state else None
    if state is None or waiting_for is None:
        return _START
    event = msgspec.json.decode(state.output, type=_Details).event if waiting_for is WaitingFor.EVENT else ""
    return Obstacle(waiting_for, due=state.due, event=event)
