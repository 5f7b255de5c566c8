"""Random workflows for tests of the engine: small graphs of every join, policy and class, with bodies, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
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

GIVEN = 100
"""What the body for the first item gives; that for the next gives one more. A body without items gives it, too."""

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
    body: Body | None = None

    @property
    def unsafe(self) -> bool:
        """Whether it must not run twice."""
        return self.type == "model.unsafe"


@dataclass(frozen=True, slots=True)
class Body:
    """What runs inside a node: `plan` once, or for each of `items`, so many `at_once`.

    `on_error` says what an item does that fails: `fail`, `null` or `drop`. A map of no items is skipped if it `skips`.
    """

    plan: Plan
    items: int | None
    at_once: int
    on_error: str
    skips: bool

    @property
    def count(self) -> int:
        """How many runs there are of it in the end."""
        return 1 if self.items is None else self.items

    def data(self) -> dict[str, Any]:
        """The settings of the node around it."""
        settings: dict[str, Any] = {"workflow": self.plan.canvas()}
        if self.items is not None:
            items = [GIVEN + item for item in range(self.items)]
            settings |= {"items": items, "concurrency": self.at_once, "onItemError": self.on_error}
            settings |= {"onEmpty": "skip" if self.skips else "succeed"}
        return settings


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow. Edges are (source, handle, target), with an empty handle for none."""

    steps: tuple[Step, ...]
    edges: tuple[tuple[str, str, str], ...]
    fail_fast: bool = True
    concurrency: int = 0

    def definition(self) -> bytes:
        """The JSON text of the workflow."""
        return json.dumps(self.canvas()).encode()

    def step(self, name: str) -> Step:
        """The node of this name: its id, in a body behind those of the nodes around, with the numbers of items."""
        first, _, rest = name.partition("/")
        found = next(step for step in self.steps if step.id == first.partition(".")[0])
        return found.body.plan.step(rest) if rest and found.body else found

    def canvas(self) -> dict[str, Any]:
        """The workflow as a canvas holds it."""
        edges = [
            {"source": source, "target": target, **({"sourceHandle": handle} if handle else {})}
            for source, handle, target in self.edges
        ]
        config: dict[str, Any] = {"failurePolicy": "fail_fast" if self.fail_fast else "continue"}
        if self.concurrency:
            config["concurrency"] = self.concurrency
        return {"nodes": [_node(step) for step in self.steps], "edges": edges, "config": config}


def _node(step: Step) -> dict[str, Any]:
    policy: dict[str, Any] = {"onError": {"default_value": 1} if step.on_error == "default_value" else step.on_error}
    if step.join:
        policy["join"] = {"n_of": 1} if step.join == "n_of" else step.join
    policy |= {name: True for name, holds in (("disabled", step.disabled), ("finally", step.final)) if holds}
    if step.attempts > 1:
        policy["retry"] = {"attempts": step.attempts, "delay": 0}
    data = step.body.data() if step.body else json.loads(step.data)
    return {"id": step.id, "type": step.type, "data": {**data, "policy": policy}}


@st.composite
def plans(draw: st.DrawFn, largest: int = 6, depth: int = 2) -> Plan:
    """Workflows of up to `largest` nodes, with parallel edges and branches; bodies are inside one another to `depth`.

    Each node is a gate, waits for a word, ends at once, or has a body.
    """
    size = draw(st.integers(1, largest))
    pairs = [(source, target) for target in range(size) for source in range(target)]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=size - 1, max_size=2 * size)) if pairs else []
    finals = size - draw(st.sampled_from((0, 0, 1, 2)))
    joins = {target for source, target in chosen if target < finals or source >= finals}
    steps = [draw(_steps(f"n{at}", at in joins, at >= finals, depth)) for at in range(size)]
    edges = []
    for source, target in chosen:
        handles = ("", *HANDLES.get(steps[source].type, ()))
        handles += ("error",) if steps[source].on_error == "fail_branch" else ()
        edges.append((f"n{source}", draw(st.sampled_from(handles)), f"n{target}"))
    return Plan(tuple(steps), tuple(edges), draw(st.booleans()), draw(st.sampled_from((0, 0, 1, 2))))


@st.composite
def _bodies(draw: st.DrawFn, depth: int) -> Body:
    plan, items = draw(plans(3, depth)), draw(st.sampled_from((None, None, 0, 2, 3)))
    result = Step("result", "output", json.dumps({"value": GIVEN if items is None else "{{ params.item }}"}), "")
    return Body(
        replace(plan, steps=(result, *plan.steps)),
        items,
        draw(st.sampled_from((1, 2, 10))),
        draw(st.sampled_from(("fail", "fail", "null", "drop"))),
        draw(st.booleans()),
    )


@st.composite
def _steps(draw: st.DrawFn, node_id: str, has_edges: bool, final: bool, depth: int) -> Step:
    waits, expires, body = "", None, None
    kinds = ("gate", "gate", "gate", "gate", "waits", "inline", *(("body", "body") if depth else ()))
    kind = draw(st.sampled_from(kinds))
    if kind == "body":
        body = draw(_bodies(depth - 1))
        node_type, data, fires = "workflow" if body.items is None else "map", "{}", None
    elif kind == "gate":
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
        body,
    )
