"""The parts of a workflow definition, and reading them from what a React Flow canvas holds."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from weftline_executor.errors import Fault
from weftline_executor.graph.bodies import split
from weftline_executor.graph.canvas import CanvasEdge, CanvasNode, PlacedNodes
from weftline_executor.graph.joins import DEFAULT_JOIN, DEFAULT_RULE, RULES, Join
from weftline_executor.graph.policy import DEFAULT_POLICY, MAX_SECONDS, Policy, PolicyReader

DECORATION = frozenset(
    {"note", "group", "annotation", "comment", "label", "sticky", "stickyNote", "sticky-note", "custom-note"}
)
"""Node types that only decorate a canvas; they and their edges are dropped before anything is counted."""

DEFAULT_HANDLE = "input"
"""The input handle of an edge that names none."""

MAX_ID_LENGTH = 256
MAX_DEPTH = 64

_CONFIG_KEYS = frozenset({"params", "concurrency", "failurePolicy", "labels", "onConflict", "deadline"})
_FAILURE_POLICIES = ("fail_fast", "continue")
_CONFLICT_POLICIES = ("reject", "replace", "attach")


class NodeDef(msgspec.Struct, frozen=True, gc=False):
    """One node: `data` is its configuration, `at` its place in the definition's `nodes`.

    Nodes with equal `kind` (the type and the JSON text of the data) are configured alike. Where the node has a body,
    `body` is the JSON text of that: an object with `nodes` and `edges`, as a workflow.
    """

    id: str
    type: str
    data: Mapping[str, Any]
    at: int
    join: Join = DEFAULT_JOIN
    kind: tuple[str, bytes] = ("", b"")
    policy: Policy = DEFAULT_POLICY
    body: bytes = b""


class EdgeDef(msgspec.Struct, frozen=True, gc=False):
    """One edge between nodes, by id; `source_handle` is empty when the edge leaves from the node as such."""

    source: str
    target: str
    source_handle: str
    target_handle: str
    at: int


@dataclass(frozen=True, slots=True)
class RunConfig:
    """How a run behaves; `concurrency` 0 means no limit of its own, `deadline` (seconds) 0 means none."""

    params: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 0
    failure_policy: str = "fail_fast"
    on_conflict: str = "reject"
    labels: Mapping[str, str] = field(default_factory=dict)
    deadline: float = 0.0


def node_ids(definition: bytes) -> list[str]:
    """The ids of the nodes that a run of a valid definition counts, in its order; needs no node types."""
    nodes = msgspec.json.decode(definition, type=PlacedNodes).nodes
    inside = split(nodes, ()).inside
    return [node.id for at, node in enumerate(nodes) if node.type not in DECORATION and at not in inside]


def too_deep(value: object, limit: int = MAX_DEPTH) -> bool:
    """Whether JSON `value` nests deeper than `limit`; does not recurse."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, dict):
            children: Any = item.values()
        elif isinstance(item, list):
            children = item
        else:
            continue
        if depth > limit:
            return True
        stack.extend((child, depth + 1) for child in children if isinstance(child, dict | list))
    return False


Configured = tuple[tuple[str, bytes], dict[str, Any]]


def read_node(raw: object, at: int, alike: dict[tuple[str, bytes], Configured], faults: list[Fault]) -> NodeDef | None:
    """Reads `nodes[at]`; adds what is wrong to `faults` and gives None if it can't be used at all.

    Nodes that are configured `alike` share one type, one kind and one data.
    """
    path = f"nodes[{at}]"
    if not isinstance(raw, CanvasNode):
        faults.append(Fault(path, "wrong_type", f"a node is a JSON object, not {_kind(raw)}"))
        return None
    node_id = raw.id
    if not isinstance(node_id, str) or not node_id or len(node_id) > MAX_ID_LENGTH:
        faults.append(Fault(f"{path}.id", "invalid_id", f"a node's id is a string of 1 to {MAX_ID_LENGTH} characters"))
        return None
    node_type = raw.type
    if not isinstance(node_type, str) or not node_type:
        faults.append(Fault(f"{path}.type", "missing_field", "a node needs a type", node_id))
        node_type = ""
    data = raw.data
    if data is None:
        data = {}
    if not isinstance(data, dict):
        faults.append(
            Fault(f"{path}.data", "wrong_type", f"a node's data is a JSON object, not {_kind(data)}", node_id)
        )
        data = {}
    if too_deep(data):
        faults.append(Fault(f"{path}.data", "too_deep", f"data nests deeper than {MAX_DEPTH} levels", node_id))
        data = {}
    join, policy = _read_policy(data.get("policy"), f"{path}.data.policy", node_id, faults)
    kind = (node_type, msgspec.json.encode(data))
    kind, data = alike.setdefault(kind, (kind, data))
    return NodeDef(node_id, kind[0], data, at, join, kind, policy)


def _read_policy(raw: object, path: str, node_id: str, faults: list[Fault]) -> tuple[Join, Policy]:
    if raw is None:
        return DEFAULT_JOIN, DEFAULT_POLICY
    if not isinstance(raw, dict):
        faults.append(Fault(path, "wrong_type", f"a policy is a JSON object, not {_kind(raw)}", node_id))
        return DEFAULT_JOIN, DEFAULT_POLICY
    join = _read_join(raw.get("join"), f"{path}.join", node_id, faults)
    return join, PolicyReader(path, node_id, faults).read(raw)


def _read_join(raw: object, path: str, node_id: str, faults: list[Fault]) -> Join:
    if raw is None:
        return DEFAULT_JOIN
    if isinstance(raw, str) and raw in RULES and raw != "n_of":
        return DEFAULT_JOIN if raw == DEFAULT_RULE else Join(raw)
    if isinstance(raw, dict) and raw.keys() == {"n_of"}:
        count = raw["n_of"]
        if isinstance(count, int) and not isinstance(count, bool) and count >= 1:
            return Join("n_of", count)
    names = ", ".join(rule for rule in RULES if rule != "n_of")
    faults.append(Fault(path, "invalid_value", f'a join is one of {names}, or {{"n_of": k}} with k >= 1', node_id))
    return DEFAULT_JOIN


def read_edge(raw: object, at: int, ids: Mapping[str, str], faults: list[Fault]) -> EdgeDef | None:
    """Reads `edges[at]`; adds what is wrong to `faults` and gives None if it can't be used at all.

    Where `ids` has an end's id, the edge holds that very text, so that a large graph holds each id once.
    """
    path = f"edges[{at}]"
    if not isinstance(raw, CanvasEdge):
        faults.append(Fault(path, "wrong_type", f"an edge is a JSON object, not {_kind(raw)}"))
        return None
    ends: list[str] = []
    for key, value in (("source", raw.source), ("target", raw.target)):
        if isinstance(value, str) and value:
            ends.append(ids.get(value, value))
        else:
            faults.append(Fault(f"{path}.{key}", "missing_field", f"an edge's {key} is the id of a node"))
    handles: list[str] = []
    for key, value in (("sourceHandle", raw.source_handle), ("targetHandle", raw.target_handle)):
        if value is not None and not isinstance(value, str):
            faults.append(Fault(f"{path}.{key}", "wrong_type", f"a handle is a string, not {_kind(value)}"))
        # A large graph has few handles, each again and again.
        handles.append(sys.intern(value) if isinstance(value, str) else "")
    return EdgeDef(ends[0], ends[1], handles[0], handles[1] or DEFAULT_HANDLE, at) if len(ends) == 2 else None


def read_config(raw: object, faults: list[Fault]) -> RunConfig:
    """Reads `config`; adds what is wrong to `faults` and uses the default there."""
    if raw is None:
        return RunConfig()
    if not isinstance(raw, dict):
        faults.append(Fault("config", "wrong_type", f"config is a JSON object, not {_kind(raw)}"))
        return RunConfig()
    faults.extend(
        Fault(f"config.{key}", "unknown_key", f"config has no key {key!r}") for key in raw if key not in _CONFIG_KEYS
    )
    params = raw.get("params") or {}
    if not isinstance(params, dict) or too_deep(params):
        faults.append(Fault("config.params", "wrong_type", f"params is a JSON object of at most {MAX_DEPTH} levels"))
        params = {}
    concurrency = raw.get("concurrency")
    if concurrency is None:
        concurrency = 0
    elif isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        faults.append(Fault("config.concurrency", "invalid_value", "concurrency is a whole number of at least 1"))
        concurrency = 0
    labels = raw.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        faults.append(Fault("config.labels", "wrong_type", "labels is a JSON object of strings"))
        labels = {}
    return RunConfig(
        params,
        concurrency,
        _choice(raw, "failurePolicy", _FAILURE_POLICIES, faults),
        _choice(raw, "onConflict", _CONFLICT_POLICIES, faults),
        labels,
        _read_deadline(raw.get("deadline"), faults),
    )


def _read_deadline(raw: object, faults: list[Fault]) -> float:
    if raw is None:
        return 0.0
    if isinstance(raw, int | float) and not isinstance(raw, bool) and 0 < raw <= MAX_SECONDS:
        return float(raw)
    faults.append(Fault("config.deadline", "invalid_value", "deadline is a number of seconds, more than 0"))
    return 0.0


def _choice(raw: Mapping[str, object], key: str, allowed: tuple[str, ...], faults: list[Fault]) -> str:
    value = raw.get(key)
    if value is None:
        return allowed[0]
    if isinstance(value, str) and value in allowed:
        return value
    faults.append(Fault(f"config.{key}", "invalid_value", f"{key} is one of {', '.join(allowed)}"))
    return allowed[0]


def _kind(value: object) -> str:
    """The JSON name of a value's type, for messages."""
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")
