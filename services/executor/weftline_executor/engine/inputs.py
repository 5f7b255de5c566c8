"""What a node can read of its run: outputs of nodes, inputs by handle, parameters; decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from weftline_executor.graph import Frontier, Graph
from weftline_executor.model.states import Handling, NodeStatus
from weftline_executor.nodes import Scope
from weftline_executor.replay import NodeState, RunProjection

MAX_DECODED = 256


class RunData(Mapping[str, object]):
    """The finished nodes of a run by id, each as `{"output": value}`."""

    def __init__(self, graph: Graph, projection: RunProjection) -> None:
        self._graph = graph
        self._projection = projection
        self._decoded: dict[str, dict[str, object]] = {}

    def __getitem__(self, node_id: str) -> dict[str, object]:
        found = self._decoded.get(node_id)
        if found is None:
            state = self._projection.nodes.get(node_id)
            if state is None or not _has_output(state):
                raise KeyError(node_id)
            raw = bytes(state.output)
            value = msgspec.json.decode(raw) if raw else None
            if state.handled is Handling.FAIL_BRANCH:
                value = {"error": state.error, "code": state.code, "details": value}
            found = {"output": value}
            if len(self._decoded) >= MAX_DECODED:
                self._decoded.clear()
            self._decoded[node_id] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return (id_ for id_, state in self._projection.nodes.items() if _has_output(state))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def inputs(self, frontier: Frontier, node: int) -> dict[str, object]:
        """What arrived at a node, by handle: a value, or a list where several edges lead to the handle."""
        graph = self._graph
        shared: dict[str, int] = {}
        for edge in graph.incoming[node]:
            handle = graph.edges[edge].target_handle
            shared[handle] = shared.get(handle, 0) + 1
        inputs: dict[str, object] = {}
        for edge in frontier.taken_edges(node):
            handle = graph.edges[edge].target_handle
            # A node with an early join may run before all that leads to it has finished.
            value = self[graph.edges[edge].source]["output"]
            if shared[handle] == 1:
                inputs[handle] = value
            else:
                several = inputs.setdefault(handle, [])
                if isinstance(several, list):
                    several.append(value)
        return inputs

    def scope(self, inputs: Mapping[str, object], run: Mapping[str, object]) -> Scope:
        """What the expressions of a node with these inputs can read; `run` says how the run as a whole stands."""
        return Scope(self, inputs, self._graph.config.params, run)


def _has_output(state: NodeState) -> bool:
    """Whether others can read what a node gave: it succeeded, or its failure was handled by an output."""
    if state.status is NodeStatus.ERROR:
        return state.handled in (Handling.FAIL_BRANCH, Handling.DEFAULT_VALUE)
    return state.status is NodeStatus.SUCCESS
