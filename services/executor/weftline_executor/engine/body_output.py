"""What a run has given as the body of a node."""

from __future__ import annotations

from typing import Any

import msgspec

from weftline_executor.engine.inputs import has_output, small_output
from weftline_executor.engine.large_outputs import LargeOutputs
from weftline_executor.graph import node_ids
from weftline_executor.replay import RunProjection


class _Node(msgspec.Struct):
    id: Any = None
    type: Any = None


class _Edge(msgspec.Struct):
    source: Any = None


class _Canvas(msgspec.Struct):
    nodes: list[_Node] = []
    edges: list[_Edge] = []


async def body_output(projection: RunProjection, outputs: LargeOutputs) -> object:
    """What the `output` nodes of an ended run gave, or without any those that lead nowhere.

    One node's value stands for itself, those of several make an object by id. Raises ArtifactError.
    """
    ends = _ends(bytes(projection.definition))
    states = {node_id: projection.nodes[node_id] for node_id in ends if node_id in projection.nodes}
    given = {node_id: state for node_id, state in states.items() if has_output(state)}
    large = await outputs.values({node_id: state.artifact for node_id, state in given.items() if state.artifact})
    values = {node_id: large[node_id] if state.artifact else small_output(state) for node_id, state in given.items()}
    return next(iter(values.values()), None) if len(ends) == 1 else values


def _ends(definition: bytes) -> list[str]:
    canvas = msgspec.json.decode(definition, type=_Canvas)
    types = {node.id: node.type for node in canvas.nodes if isinstance(node.id, str)}
    leading = {edge.source for edge in canvas.edges if isinstance(edge.source, str)}
    known = node_ids(definition)
    given = [node_id for node_id in known if types[node_id] == "output"]
    return given or [node_id for node_id in known if node_id not in leading]
