"""What a node can read of its run: outputs of nodes, inputs by handle, parameters; decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from weftline_executor.graph import Graph
from weftline_executor.model.artifact import Artifact
from weftline_executor.model.states import Handling, NodeStatus
from weftline_executor.nodes import Scope
from weftline_executor.replay import NodeState, RunProjection

MAX_DECODED_BYTES = 4 << 20
"""How much JSON text the outputs have together that a run keeps decoded."""

_NOTHING: Mapping[str, object] = {}


class RunData(Mapping[str, object]):
    """The finished nodes of a run by id, each as `{"output": value}`.

    Outputs that are artifacts are not among them: they are read by others, and come as `loaded`.
    """

    def __init__(self, graph: Graph, projection: RunProjection) -> None:
        self._graph = graph
        self._projection = projection
        self._decoded: dict[str, dict[str, object]] = {}
        self._decoded_bytes = 0

    def __getitem__(self, node_id: str) -> dict[str, object]:
        found = self._decoded.get(node_id)
        if found is None:
            state = self._projection.nodes.get(node_id)
            if state is None or not has_output(state) or state.artifact is not None:
                raise KeyError(node_id)
            found = {"output": small_output(state)}
            size = len(bytes(state.output))
            self._decoded_bytes += size
            if self._decoded_bytes > MAX_DECODED_BYTES:
                self._decoded.clear()
                self._decoded_bytes = size
            self._decoded[node_id] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return (id_ for id_, state in self._projection.nodes.items() if has_output(state))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def artifacts(self, edges: Sequence[int], node_ids: Iterable[str]) -> dict[str, Artifact]:
        """What has to be loaded for a node that these in-edges lead to and whose expressions name these nodes."""
        if not self._projection.has_artifacts:
            return {}
        wanted: dict[str, Artifact] = {}
        for node_id in (*(self._graph.edges[edge].source for edge in edges), *node_ids):
            state = self._projection.nodes.get(node_id)
            if state is not None and state.artifact is not None and has_output(state):
                wanted[node_id] = state.artifact
        return wanted

    def inputs(self, node: int, edges: Sequence[int], loaded: Mapping[str, object] = _NOTHING) -> dict[str, object]:
        """What came to a node by these in-edges, by handle: a value, or a list where several lead to the handle."""
        if not edges:
            return {}
        graph = self._graph
        shared: dict[str, int] = {}
        for edge in graph.incoming[node]:
            handle = graph.edges[edge].target_handle
            shared[handle] = shared.get(handle, 0) + 1
        inputs: dict[str, object] = {}
        for edge in edges:
            handle = graph.edges[edge].target_handle
            # A node with an early join may run before all that leads to it has finished.
            source = graph.edges[edge].source
            value = loaded[source] if source in loaded else self[source]["output"]
            if shared[handle] == 1:
                inputs[handle] = value
            else:
                several = inputs.setdefault(handle, [])
                if isinstance(several, list):
                    several.append(value)
        return inputs

    def scope(
        self, inputs: Mapping[str, object], run: Mapping[str, object], loaded: Mapping[str, object] = _NOTHING
    ) -> Scope:
        """What the expressions of a node with these inputs can read; `run` says how the run as a whole stands."""
        nodes = _Loaded(self, loaded) if loaded else self
        return Scope(nodes, inputs, self._graph.config.params, run)


class _Loaded(Mapping[str, object]):
    """The finished nodes of a run, with the outputs that were loaded for one of them."""

    def __init__(self, data: RunData, loaded: Mapping[str, object]) -> None:
        self._data = data
        self._loaded = loaded

    def __getitem__(self, node_id: str) -> dict[str, object]:
        return {"output": self._loaded[node_id]} if node_id in self._loaded else self._data[node_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


def has_output(state: NodeState) -> bool:
    """Whether others can read what a node gave: it succeeded, or its failure was handled by an output."""
    if state.status is NodeStatus.ERROR:
        return state.handled in (Handling.FAIL_BRANCH, Handling.DEFAULT_VALUE)
    return state.status is NodeStatus.SUCCESS


def small_output(state: NodeState) -> object:
    """What others read of a node whose output is in its event."""
    raw = bytes(state.output)
    value = msgspec.json.decode(raw) if raw else None
    if state.handled is Handling.FAIL_BRANCH:
        return {"error": state.error, "code": state.code, "details": value}
    return value
