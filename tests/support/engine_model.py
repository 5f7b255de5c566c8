"""A reference of how one run behaves, over its durable events: apart from the engine's code, which is held to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tests.support.engine_plans import FAILS, Plan, Step
from weftline_executor.model import events as model
from weftline_executor.model.records import Batch

MAX_RECOVERIES = 2
"""What the tests set the engine's limit to, so that it is reached."""

FINAL = ("success", "stopped", "error")
LEGAL = {
    "pause": ("running",),
    "resume": ("pausing", "paused"),
    "stop": ("running", "pausing", "paused", "stopping"),
    "retry": ("error", "stopped"),
}
# What an edge may tell of its source, the weightier cause of a skip later.
WEIGHT = ("taken", "upstream_skipped", "branch_not_taken", "condition_false", "upstream_failed")


@dataclass(slots=True)
class Node:
    """What the log says of a node; `told_in` is the batch of its outcome, `ready_in` that after which it could run."""

    step: Step
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
    ready_in: int = 0


class Reference:
    """One run of a plan. `apply` asserts that a batch may follow what came before; `at_rest` that nothing is stuck.

    `opened` gives how each attempt of a gate was told to end, by run, node and number: with a handle, or FAILS;
    `begins` the number of batches at each start of an engine.
    """

    def __init__(
        self, plan: Plan, run_id: str, opened: Mapping[tuple[str, str, int], str], begins: Collection[int]
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.nodes = {step.id: Node(step) for step in plan.steps}
        self.state = ""
        self.reason = ""
        self.generation = 1
        self._opened = opened
        self._begins = begins
        self._batch = 0
        self._fault_in = 0
        self._kinds: list[type[model.Event]] = []

    @property
    def _begins_life(self) -> bool:
        return self._batch - 1 in self._begins

    def running(self) -> list[str]:
        """The nodes that run, by the log."""
        return [node_id for node_id, node in self.nodes.items() if node.status == "running"]

    def apply(self, batch: Batch, number: int) -> None:
        """Takes in the batch with this number."""
        self._batch = number
        self._kinds = [type(event) for event in batch.events]
        for event in batch.events:
            if isinstance(event, model.LogWritten):
                continue
            assert self.state not in FINAL or isinstance(event, model.RunResumed), (self.state, event)
            match event:
                case model.RunStarted():
                    assert not self.state
                    self.state = "running"
                case model.RunPaused() | model.RunResumed() | model.RunStopping():
                    self._changed(event)
                case model.RunCompleted() | model.RunFailed():
                    self._ended(event)
                case _:
                    self._node_event(event, self.nodes[event.node])
        for node_id, node in self.nodes.items():
            if not node.ready_in and self.fate(node_id, number + 1) == "run":
                node.ready_in = number
            assert (node.status, node.handled) != ("error", "retry"), f"{node_id} failed, and its next try is not told"

    def _changed(self, event: model.StateChange) -> None:
        before, self.state, self.reason = self.state, event.state.value, event.reason
        match event:
            case model.RunPaused():
                assert (before, self.state) in (("running", "pausing"), ("running", "paused"), ("pausing", "paused"))
                if event.reason == "node_failed" and before == "running":
                    assert any(node.handled == "pause" for node in self.nodes.values())
                assert self.state == "pausing" or not self.running()
            case model.RunResumed():
                assert before in LEGAL["retry" if event.mode == "retry" else "resume"]
                assert event.by.startswith("c"), "only a person resumes"
                if event.mode == "retry":
                    self.generation += 1
                    self._fault_in = 0
                for node in self.nodes.values():
                    node.unknown = False
            case _:
                assert before in LEGAL["stop"]

    def _node_event(self, event: model.NodeEvent, node: Node) -> None:
        match event:
            case model.NodePending():
                self._pending(event, node)
            case model.NodeRunning():
                assert (self.state, node.status, event.attempt) == ("running", "pending", node.attempt), event
                assert self.fate(event.node, self._batch) == "run", f"{event.node} runs before its parents allow"
                assert not node.unknown, f"nobody decided on {event.node}, which may have run"
                assert not self._fault_in or self._batch - self._fault_in <= 1, f"{event.node} starts after a failure"
                assert not self.plan.concurrency or len(self.running()) < self.plan.concurrency
                assert node.reason != "retry" or event.at >= node.due
                node.status, node.reason = "running", ""
            case model.NodeSucceeded():
                assert (node.status, event.attempt) == ("running", node.attempt), event
                assert event.handle == self._outcome(event.node, node)
                node.status, node.handle, node.told_in = "success", event.handle, self._batch
                node.successes += 1
                assert node.successes == 1, f"{event.node} succeeded twice"
            case model.NodeFailed():
                self._failed(event, node)
            case model.NodeSkipped():
                assert node.status == "pending"
                ends = model.RunCompleted in self._kinds or model.RunFailed in self._kinds
                assert event.reason == self.fate(event.node, self._batch) or (event.reason == "run_stopped" and ends)
                node.status, node.reason, node.told_in = "skipped", event.reason, self._batch

    def _outcome(self, node_id: str, node: Node) -> str:
        return self._opened[self.run_id, node_id, node.attempt] if node.step.fires is None else node.step.fires

    def _pending(self, event: model.NodePending, node: Node) -> None:
        match event.reason.value:
            case "concurrency":
                assert (node.status, event.attempt) == ("pending", node.attempt)
                assert self.fate(event.node, self._batch) == "run"
                return
            case "recovered":
                assert (node.status, self._begins_life) == ("running", True)
                node.recoveries += 1
                node.unknown = node.step.unsafe
            case "retry" | "resumed":
                wanted = "pause" if event.reason == "resumed" else "retry"
                assert (node.status, node.handled) == ("error", wanted)
                assert event.reason == "retry" or self.state == "running"
            case "paused":
                assert (node.status, self.state, node.step.unsafe) == ("running", "pausing", False)
            case "reset":
                assert model.RunResumed in self._kinds
                assert node.status in ("skipped", "error")
                assert node.status == "skipped" or node.handled in ("", "pause", "retry")
                node.failures = node.recoveries = node.ready_in = 0
        # A node that was cut off may or may not have been tried.
        assert event.attempt - node.attempt in ((0, 1) if node.status == "skipped" else (1,))
        node.status, node.attempt, node.reason, node.due = "pending", event.attempt, event.reason.value, event.due
        node.handled, node.told_in = "", 0

    def _failed(self, event: model.NodeFailed, node: Node) -> None:
        halted = self.state == "stopping" or (self._fault_in and self._batch - self._fault_in > 1)
        maybe = halted or self._fault_in
        if event.code == "cancelled":
            assert self.state == "stopping"
        elif event.code == "interrupted":
            assert maybe
            assert self._begins_life
        elif event.code == "crash_loop":
            assert node.recoveries >= MAX_RECOVERIES
        else:
            assert self._outcome(event.node, node) == FAILS
        assert node.status == "running", event
        mendable = event.code in ("as_agreed", "node_failed") and node.step.attempts > node.failures + 1
        usual = "retry" if mendable else "" if node.step.on_error == "fail" else node.step.on_error
        given_up = event.code in ("cancelled", "interrupted") or halted
        assert event.handled.value in ([""] if given_up else ["", usual] if maybe else [usual]), (event, usual)
        node.status, node.handled, node.code, node.told_in = "error", event.handled.value, event.code, self._batch
        node.failures += 1
        if not node.handled and self.plan.fail_fast:
            self._fault_in = self._fault_in or self._batch

    def _ended(self, event: model.RunCompleted | model.RunFailed) -> None:
        failed = [node_id for node_id, node in self.nodes.items() if node.status == "error" and not node.handled]
        cut_off = [node_id for node_id, node in self.nodes.items() if node.reason == "run_stopped"]
        if isinstance(event, model.RunFailed):
            assert self.state != "stopping"
            assert event.node in failed
            assert event.code == self.nodes[event.node].code
            assert self.plan.fail_fast or not cut_off
            self.state = "error"
        else:
            assert event.status == ("stopped" if self.state == "stopping" else "success")
            assert self.state == "stopping" or not (failed or cut_off)
            counts = [
                sum(node.status == word for node in self.nodes.values()) for word in ("success", "error", "skipped")
            ]
            assert [event.completed_nodes, event.failed_nodes, event.skipped_nodes] == counts
            self.state = event.status.value
        open_nodes = [n for n, node in self.nodes.items() if node.status in ("pending", "running")]
        assert not open_nodes, f"the run ended, and these are open: {open_nodes}"

    def fate(self, node_id: str, before: int) -> str:
        """`run`, `wait`, or the reason of a skip, as what was told before a batch says; skips count at once."""
        step = self.nodes[node_id].step
        edges = [edge for edge in self.plan.edges if edge[2] == node_id]
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
            return "run"
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

    def at_rest(self, now: int, slots: int) -> None:
        """Nothing happens until somebody does something: asserts that there is nothing that should."""
        running = self.running()
        if self.state in FINAL:
            return
        for node_id, node in self.nodes.items():
            fate = self.fate(node_id, self._batch + 1)
            assert node.status != "pending" or fate in ("run", "wait"), f"{node_id} is not skipped, but {fate}"
        if self.state in ("pausing", "stopping"):
            assert running, f"the run is {self.state}, and nothing runs"
        elif self.state == "paused":
            assert not running
        else:
            self._nothing_is_missing(running, now, slots)

    def _nothing_is_missing(self, running: list[str], now: int, slots: int) -> None:
        held = [n for n, node in self.nodes.items() if node.status == "error" and node.handled == "pause"]
        assert not held, f"the run goes on, and nobody is asked about {held}"
        pending = [n for n, node in self.nodes.items() if node.status == "pending"]
        later = [n for n in pending if self.nodes[n].reason == "retry" and self.nodes[n].due > now]
        ready = [n for n in pending if n not in later and self.fate(n, self._batch + 1) == "run"]
        if self._fault_in:
            assert running, "the run has failed, and does not end"
        elif ready:
            limit = min(self.plan.concurrency or slots, slots)
            assert len(running) >= limit, f"{ready} could run, and only {running} do"
        else:
            assert running or later, "nothing runs or waits, and the run does not end"
