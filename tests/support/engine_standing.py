"""Where a run of the reference stands: what the log says of its nodes, and what follows for those that wait."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.engine_bodies import Bodies
from tests.support.engine_plans import Plan, Step

WAITS = ("approval", "event")
# What an edge may tell of its source, the weightier cause of a skip later.
WEIGHT = ("taken", "upstream_skipped", "branch_not_taken", "condition_false", "upstream_failed")


@dataclass(slots=True)
class Node:
    """What the log says of a node; `told_in` is the batch of its outcome, `bodies` are there if it has a body."""

    step: Step
    bodies: Bodies | None = None
    status: str = "pending"
    attempt: int = 1
    reason: str = ""
    handled: str = ""
    handle: str = ""
    code: str = ""
    due: int = 0
    failures: int = 0
    recoveries: int = 0
    successes: int = 0
    unknown: bool = False
    told_in: int = 0

    @property
    def busy(self) -> bool:
        """Whether it runs, and does not only wait for bodies that are paused."""
        return self.status == "running" and not (self.bodies and self.bodies.resting)


class Standing:
    """A run of a plan at one moment; `fault_in` is the batch of the failure that it comes to an end by, or 0."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.nodes = {step.id: Node(step, Bodies(step.body) if step.body else None) for step in plan.steps}
        self.state = ""
        self.fault_in = 0
        self.terminated = False

    def running(self) -> list[str]:
        """The nodes that run, by the log."""
        return [node_id for node_id, node in self.nodes.items() if node.status == "running"]

    def waiting(self, event: str = "") -> list[str]:
        """The nodes that wait for a word from outside; of those that do for an `event`, where that is named."""
        wanted = (event,) if event else WAITS
        return [n for n, node in self.nodes.items() if node.status == "pending" and node.reason in wanted]

    def unknown(self) -> list[str]:
        """The nodes of which nobody knows whether they had finished when the process died."""
        return [n for n, node in self.nodes.items() if node.status == "pending" and node.unknown]

    def reusable(self, first: str) -> dict[str, str]:
        """What fired of each node whose success a run takes over that begins anew with the node `first`."""
        kept: dict[str, str] = {}
        anew = {first}
        for node_id, node in self.nodes.items():
            above = {source for source, _, target in self.plan.edges if target == node_id}
            whole = node.status == "success" or (node.status == "skipped" and node.reason != "run_stopped")
            if node_id in anew or node.step.final or above & anew or not whole:
                anew.add(node_id)
            elif node.status == "success":
                kept[node_id] = node.handle
        return kept

    def busy(self) -> list[str]:
        """The nodes that run, but those that only wait for bodies that are paused."""
        return [node_id for node_id, node in self.nodes.items() if node.busy]

    def cleaning(self) -> list[str]:
        """The nodes that do not run, and whose bodies are waited for before the `finally` nodes run."""
        if self.terminated:
            return []
        others = [(node_id, node) for node_id, node in self.nodes.items() if not node.step.final]
        return [n for n, node in others if node.status != "running" and node.bodies and node.bodies.awaited]

    def finishing(self, before: int) -> bool:
        """Whether all but the `finally` nodes have come to their end, as what was told before a batch says."""
        halted = self.fault_in or self.state == "stopping"
        return not self.cleaning() and all(
            node.status == "skipped"
            or (node.status == "success" and node.told_in < before)
            or (node.status == "error" and node.told_in < before and (node.handled != "pause" or bool(halted)))
            for node in self.nodes.values()
            if not node.step.final
        )

    def fate(self, node_id: str, before: int) -> str:
        """`run`, `wait`, or the reason of a skip, as what was told before a batch says; skips count at once."""
        step = self.nodes[node_id].step
        if step.final and not self.finishing(before):
            return "wait"
        above = [edge for edge in self.plan.edges if edge[2] == node_id]
        # What is not one of them holds a `finally` node up no longer.
        edges = [edge for edge in above if self.nodes[edge[0]].step.final is step.final]
        told = [word for source, handle, _ in edges if (word := self._edge(self.nodes[source], handle, before))]
        taken, failed, whole = told.count("taken"), told.count("upstream_failed"), len(told) == len(edges)
        runs = {
            "": whole and not failed and taken >= 1,
            "all_success": taken == len(edges),
            "all_done": whole,
            "one_success": taken >= 1,
            "one_failed": failed >= 1,
            "none_failed": whole and not failed,
            "always": True,
            "n_of": taken >= 1,
        }[step.join]
        if runs or not edges:
            return "disabled" if step.disabled else "run"
        if not whole:
            return "wait"
        worst = max(told, key=WEIGHT.index)
        return "upstream_skipped" if worst == "taken" else worst

    def _edge(self, source: Node, handle: str, before: int) -> str:
        """What an edge tells; empty while it is unknown."""
        if source.status == "skipped":
            return "upstream_failed" if source.reason == "upstream_failed" else "upstream_skipped"
        if source.status not in ("success", "error") or source.told_in >= before:
            return ""
        if source.status == "error" and source.handled != "default_value":
            branches = "taken" if handle == "error" else "branch_not_taken"
            return {"": "upstream_failed", "fail_branch": branches}.get(source.handled, "")
        if handle == "error":
            return "branch_not_taken"
        if not handle or not source.handle or source.status == "error" or handle == source.handle:
            return "taken"
        return "condition_false" if source.step.type == "condition" and handle == "true" else "branch_not_taken"
