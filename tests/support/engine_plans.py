"""Random workflows for tests of the engine: small graphs of every join, policy and class, as plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

FAILS = "fails"
GATES = ("model.safe", "model.keyed", "model.unsafe", "model.stubborn", "model.branch")
INLINE: dict[str, tuple[str, dict[str, Any], str]] = {
    "noop": ("noop", {}, ""),
    "fail": ("fail", {}, FAILS),
    "true": ("condition", {"expression": "true"}, "true"),
    "false": ("condition", {"expression": "false"}, "false"),
    "case": ("switch", {"expression": "1", "cases": [{"value": 1, "handle": "left"}], "default": "right"}, "left"),
    "default": ("switch", {"expression": "2", "cases": [{"value": 1, "handle": "left"}], "default": "right"}, "right"),
}
"""Nodes that end at once: their type, its settings, and the handle that fires."""

REJECTED = "rejected"
WAITS_SECONDS = 600.0
_IN_TIME = {"deadline": WAITS_SECONDS}
WAITS: tuple[tuple[str, dict[str, Any], str | None], ...] = (
    ("approval", {}, None),
    ("approval", _IN_TIME, FAILS),
    ("approval", {**_IN_TIME, "default": 1}, ""),
    ("approval", {**_IN_TIME, "default": {"approved": False}}, REJECTED),
    ("wait_for_event", {"event": "go"}, None),
    ("wait_for_event", {**_IN_TIME, "event": "go", "default": 1}, ""),
)
"""Nodes that wait for a word from outside: their type, its settings, and how they end when none comes in time."""

HANDLES = {"model.branch": ("left", "right"), "condition": ("true", "false"), "switch": ("left", "right")}
RULES = ("", "all_success", "all_done", "one_success", "one_failed", "none_failed", "always", "n_of")
ON_ERROR = ("fail", "fail_branch", "default_value", "pause")


@dataclass(frozen=True, slots=True)
class Step:
    """One node. `fires` is the handle that fires, or FAILS, of one that ends at once; None of one that is a gate."""

    id: str
    type: str
    data: str
    fires: str | None
    join: str = ""
    attempts: int = 1
    on_error: str = "fail"
    disabled: bool = False
    final: bool = False
    waits: str = ""
    expires: str | None = None
    """For one that waits: what it says it waits for, and how it ends when nobody answers; None without a deadline."""

    @property
    def unsafe(self) -> bool:
        """Whether it must not run twice."""
        return self.type == "model.unsafe"


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow. Edges are (source, handle, target), with an empty handle for none."""

    steps: tuple[Step, ...]
    edges: tuple[tuple[str, str, str], ...]
    fail_fast: bool = True
    concurrency: int = 0

    def definition(self) -> bytes:
        """The JSON text of the workflow."""
        edges = [
            {"source": source, "target": target, **({"sourceHandle": handle} if handle else {})}
            for source, handle, target in self.edges
        ]
        config: dict[str, Any] = {"failurePolicy": "fail_fast" if self.fail_fast else "continue"}
        if self.concurrency:
            config["concurrency"] = self.concurrency
        return json.dumps({"nodes": [_node(step) for step in self.steps], "edges": edges, "config": config}).encode()


def _node(step: Step) -> dict[str, Any]:
    policy: dict[str, Any] = {"onError": {"default_value": 1} if step.on_error == "default_value" else step.on_error}
    if step.join:
        policy["join"] = {"n_of": 1} if step.join == "n_of" else step.join
    policy |= {name: True for name, holds in (("disabled", step.disabled), ("finally", step.final)) if holds}
    if step.attempts > 1:
        policy["retry"] = {"attempts": step.attempts, "delay": 0}
    return {"id": step.id, "type": step.type, "data": {**json.loads(step.data), "policy": policy}}


@st.composite
def plans(draw: st.DrawFn, largest: int = 6) -> Plan:
    """Workflows of up to `largest` nodes, each a gate or one that ends at once, with parallel edges and branches."""
    size = draw(st.integers(1, largest))
    pairs = [(source, target) for target in range(size) for source in range(target)]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=size - 1, max_size=2 * size)) if pairs else []
    finals = size - draw(st.sampled_from((0, 0, 1, 2)))
    joins = {target for source, target in chosen if target < finals or source >= finals}
    steps = [draw(_steps(f"n{at}", at in joins, at >= finals)) for at in range(size)]
    edges = []
    for source, target in chosen:
        handles = ("", *HANDLES.get(steps[source].type, ()))
        handles += ("error",) if steps[source].on_error == "fail_branch" else ()
        edges.append((f"n{source}", draw(st.sampled_from(handles)), f"n{target}"))
    return Plan(tuple(steps), tuple(edges), draw(st.booleans()), draw(st.sampled_from((0, 0, 1, 2))))


@st.composite
def _steps(draw: st.DrawFn, node_id: str, has_edges: bool, final: bool) -> Step:
    waits, expires = "", None
    kind = draw(st.sampled_from(("gate", "gate", "gate", "gate", "waits", "inline")))
    if kind == "gate":
        node_type, data, fires = draw(st.sampled_from(GATES)), "{}", None
    elif kind == "waits":
        node_type, settings, expires = draw(st.sampled_from(WAITS))
        data, fires, waits = json.dumps(settings), None, node_type.removeprefix("wait_for_")
    else:
        node_type, settings, fires = INLINE[draw(st.sampled_from(sorted(INLINE)))]
        data = json.dumps(settings)
    return Step(
        node_id,
        node_type,
        data,
        fires,
        draw(st.sampled_from(RULES)) if has_edges else "",
        draw(st.sampled_from((1, 1, 2, 3))),
        draw(st.sampled_from(("fail", *ON_ERROR))),
        draw(st.integers(0, 9)) == 9,
        final,
        waits,
        expires,
    )
