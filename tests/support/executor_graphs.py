"""Short ways to write workflow definitions in tests."""

import json
from itertools import pairwise
from typing import Any


def node(node_id: str, node_type: str = "noop", **data: Any) -> dict[str, Any]:
    """A node as a canvas holds it."""
    return {"id": node_id, "type": node_type, "data": data}


def edge(text: str) -> dict[str, Any]:
    """An edge from `a>b`, with handles where they matter: `a:true>b:left`."""
    source, target = text.split(">")
    source, _, source_handle = source.partition(":")
    target, _, target_handle = target.partition(":")
    made = {"source": source, "target": target}
    if source_handle:
        made["sourceHandle"] = source_handle
    if target_handle:
        made["targetHandle"] = target_handle
    return made


def definition(nodes: list[dict[str, Any]], *edges: str, **config: Any) -> str:
    """The JSON text of a workflow."""
    return json.dumps({"nodes": nodes, "edges": [edge(text) for text in edges], "config": config})


def chain(*nodes: dict[str, Any], **config: Any) -> str:
    """The JSON text of a workflow whose nodes follow one another."""
    ids = [each["id"] for each in nodes]
    return definition(list(nodes), *(f"{first}>{second}" for first, second in pairwise(ids)), **config)


def noops(count: int) -> str:
    """The JSON text of a chain of nodes that do nothing: n0, n1 and so on."""
    return chain(*(node(f"n{number}") for number in range(count)))
