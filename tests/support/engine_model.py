"""A reference of how one run behaves, over its durable events: apart from the engine's code, which is held to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tests.support.engine_plans import FAILS, REJECTED, Plan, Step
from weftline_executor.model import events as model
from weftline_executor.model.records import Batch

MAX_RECOVERIES = 2
"""What the tests set the engine's limit to, so that it is reached."""

FINAL = ("success", "stopped", "error")
LEGAL = {
    "pause": ("running",),
    "resume": ("pausing", "paused"),
    "stop": ("running", "pausing", "paused", "stopping"),
    "complete": ("running", "pausing", "paused"),
    "rerun": ("success", "error", "stopped"),
    "retry": ("error", "stopped"),
}
WAITS = ("approval", "event")
TIMED_OUT = {"approval_timeout": FAILS, "event_timeout": FAILS}
# What an edge may tell of its source, the weightier cause of a skip later.
WEIGHT = ("taken", "upstream_skipped", "branch_not_taken", "condition_false", "upstream_failed")


@dataclass(slots=True)
class Node:
    """What the log says of a node; `told_in` is the batch of its outcome."""

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


class Reference:
    """One run of a plan. `apply` asserts that a batch may follow what came before; `at_rest` that nothing is stuck.

    `opened` gives how each attempt of a gate was told to end, by run, node and number: with a handle, or FAILS;
    `said` whether a command that completes a node rejects it, by the command's id, `begins` the number of batches at
    each start of an engine, and `reused` how each node fired whose success the run takes over.
    """

    def __init__(
        self,
        plan: Plan,
        run_id: str,
        opened: Mapping[tuple[str, str, int], str],
        said: Mapping[str, bool],
        begins: Collection[int],
        reused: Mapping[str, str],
    ) -> None:
        self.plan = plan
        self.run_id = run_id
        self.nodes = {step.id: Node(step) for step in plan.steps}
        self.state = ""
        self.reason = ""
        self.generation = 1
        self.terminated = False
        self._opened = opened
        self._said = said
        self._reused = reused
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

    def finishing(self, before: int) -> bool:
        """Whether all but the `finally` nodes have come to their end, as what was told before a batch says."""
        halted = self._fault_in or self.state == "stopping"
        return all(
            node.status == "skipped"
            or (node.status == "success" and node.told_in < before)
            or (node.status == "error" and node.told_in < before and (node.handled != "pause" or bool(halted)))
            for node in self.nodes.values()
            if not node.step.final
        )

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
        if model.RunStarted in self._kinds:
            taken_over = {n: node.handle for n, node in self.nodes.items() if node.status == "success"}
            assert taken_over == self._reused
        for node_id, node in self.nodes.items():
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
                    self.terminated = False
                for node in self.nodes.values():
                    node.unknown = False
            case _:
                assert before in LEGAL["stop"]
                self.terminated = self.terminated or event.mode == "terminate"

    def _node_event(self, event: model.NodeEvent, node: Node) -> None:
        match event:
            case model.NodePending():
                self._pending(event, node)
            case model.NodeRunning():
                assert (node.status, event.attempt) == ("pending", node.attempt), event
                assert self.state == "running" or (self.state == "stopping" and node.step.final), event
                assert not self.terminated, f"{event.node} runs after all was to end at once"
                assert node.reason not in WAITS, f"{event.node} runs while it waits"
                assert self.fate(event.node, self._batch) == "run", f"{event.node} runs before its parents allow"
                assert not node.unknown, f"nobody decided on {event.node}, which may have run"
                late = self._fault_in and self._batch - self._fault_in > 1
                assert node.step.final or not late, f"{event.node} starts after a failure"
                assert not self.plan.concurrency or len(self.running()) < self.plan.concurrency
                assert node.reason != "retry" or event.at >= node.due
                node.status, node.reason = "running", ""
            case model.NodeSucceeded():
                assert event.attempt == node.attempt, event
                self._check_success(event, node)
                node.status, node.handle, node.told_in = "success", event.handle, self._batch
                node.successes += 1
                assert node.successes == 1, f"{event.node} succeeded twice"
            case model.NodeFailed():
                self._failed(event, node)
            case model.NodeSkipped():
                assert node.status == "pending"
                ends = model.RunCompleted in self._kinds or model.RunFailed in self._kinds
                if not node.step.final and any(step.final for step in self.plan.steps):
                    halted = self.state == "stopping" or self._fault_in
                    ends = ends or bool(halted and not self.running())
                assert event.reason == self.fate(event.node, self._batch) or (event.reason == "run_stopped" and ends)
                node.status, node.reason, node.told_in = "skipped", event.reason, self._batch

    def _check_success(self, event: model.NodeSucceeded, node: Node) -> None:
        match event.reason.value:
            case "reused":
                assert (model.RunStarted in self._kinds, node.status) == (True, "pending")
                assert (event.attempt, event.handle) == (1, self._reused[event.node])
            case "completed":
                assert node.status == "pending"
                assert node.reason in WAITS or node.unknown, f"{event.node} was completed and did not wait"
                assert node.reason != "approval" or not self._said[event.by]
            case "timed_out":
                assert (node.status, node.step.expires) == ("pending", "")
                assert event.at >= node.due - 1
            case _:
                assert node.status == "running", event
                assert event.handle == self._outcome(event.node, node)
        node.unknown = False

    def _outcome(self, node_id: str, node: Node) -> str:
        return self._opened[self.run_id, node_id, node.attempt] if node.step.fires is None else node.step.fires

    def _pending(self, event: model.NodePending, node: Node) -> None:
        match event.reason.value:
            case "concurrency":
                assert (node.status, event.attempt) == ("pending", node.attempt)
                assert self.fate(event.node, self._batch) == "run"
                return
            case "approval" | "event":
                assert (node.status, event.attempt) == ("running", node.attempt)
                assert node.step.waits == event.reason.value
                node.status, node.reason, node.due = "pending", event.reason.value, event.due
                return
            case "recovered":
                assert (node.status, self._begins_life) == ("running", True)
                node.recoveries += 1
                node.unknown = node.step.unsafe
            case "retry" | "resumed":
                wanted = "pause" if event.reason == "resumed" else "retry"
                assert (node.status, node.handled) == ("error", wanted)
                assert event.reason == "retry" or self.state == "running", event
            case "paused":
                assert (node.status, self.state, node.step.unsafe) == ("running", "pausing", False)
            case "reset":
                assert model.RunResumed in self._kinds
                assert node.step.final or node.status in ("skipped", "error")
                assert node.step.final or node.status == "skipped" or node.handled in ("", "pause", "retry")
                node.failures = node.recoveries = node.successes = 0
        # A node that was cut off may or may not have been tried.
        assert event.attempt - node.attempt in ((0, 1) if node.status == "skipped" else (1,))
        node.status, node.attempt, node.reason, node.due = "pending", event.attempt, event.reason.value, event.due
        node.handled, node.told_in = "", 0

    def _failed(self, event: model.NodeFailed, node: Node) -> None:
        stopping = self.state == "stopping"
        halted = not node.step.final and (stopping or (self._fault_in and self._batch - self._fault_in > 1))
        maybe = not node.step.final and (halted or self._fault_in)
        waits = node.status == "pending" and node.reason in WAITS
        if event.code == "cancelled":
            assert stopping
        elif event.code == "interrupted":
            assert maybe or (stopping and node.step.unsafe)
            assert self._begins_life or node.unknown
        elif event.code == "rejected":
            assert (waits, node.reason) == (True, "approval")
            by = event.error.removeprefix("rejected by ")
            assert node.step.expires == REJECTED and event.at >= node.due - 1 if by == "default" else self._said[by]
        elif event.code in TIMED_OUT:
            assert (waits, node.step.expires) == (True, TIMED_OUT[event.code])
            assert event.at >= node.due - 1
        elif event.code == "crash_loop":
            assert node.recoveries >= MAX_RECOVERIES
        else:
            assert self._outcome(event.node, node) == FAILS
        assert node.status == "running" or waits or (node.unknown and event.code == "interrupted"), event
        mendable = event.code in ("as_agreed", "node_failed") and node.step.attempts > node.failures + 1
        usual = "retry" if mendable else "" if node.step.on_error == "fail" else node.step.on_error
        usual = "" if usual == "pause" and stopping else usual
        given_up = event.code in ("cancelled", "interrupted") or halted
        assert event.handled.value in ([""] if given_up else ["", usual] if maybe else [usual]), (event, usual)
        node.status, node.handled, node.code, node.told_in = "error", event.handled.value, event.code, self._batch
        node.failures += 1
        node.unknown = False
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

    def at_rest(self, now: int, slots: int) -> None:
        """Nothing happens until somebody does something: asserts that there is nothing that should."""
        running = self.running()
        if self.state in FINAL:
            return
        for node_id, node in self.nodes.items():
            fate = self.fate(node_id, self._batch + 1)
            assert node.status != "pending" or fate in ("run", "wait"), f"{node_id} is not skipped, but {fate}"
        self._nothing_is_overdue(now)
        if self.state == "pausing" or (self.state == "stopping" and not self._finals_open()):
            assert running, f"the run is {self.state}, and nothing runs"
        elif self.state == "paused":
            assert not running
        else:
            self._nothing_is_missing(running, now, slots)

    def _finals_open(self) -> bool:
        finals = [node for node in self.nodes.values() if node.step.final]
        return self.finishing(self._batch + 1) and any(node.status in ("pending", "running") for node in finals)

    def _nothing_is_overdue(self, now: int) -> None:
        overdue = [n for n in self.waiting() if 0 < self.nodes[n].due < now]
        assert not overdue, f"{overdue} wait after their time"

    def _nothing_is_missing(self, running: list[str], now: int, slots: int) -> None:
        failed = [n for n, node in self.nodes.items() if node.status == "error" and node.handled == "pause"]
        held = [n for n in failed if self.nodes[n].step.final or not self._finals_open()]
        assert not held or self.state == "stopping", f"the run goes on, and nobody is asked about {held}"
        pending = [n for n, node in self.nodes.items() if node.status == "pending"]
        later = [n for n in pending if self.nodes[n].reason == "retry" and self.nodes[n].due > now] + self.waiting()
        ready = [n for n in pending if n not in later and self.fate(n, self._batch + 1) == "run"]
        if self._fault_in and not self._finals_open():
            assert running, "the run has failed, and does not end"
        elif ready:
            limit = min(self.plan.concurrency or slots, slots)
            assert len(running) >= limit, f"{ready} could run, and only {running} do"
        else:
            assert running or later, "nothing runs or waits, and the run does not end"
