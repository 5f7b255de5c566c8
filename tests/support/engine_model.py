"""A reference of how one run behaves, over its durable events: apart from the engine's code, which is held to it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.support.engine_bodies import FINAL, Bodies
from tests.support.engine_plans import FAILS, REJECTED, Plan
from tests.support.engine_standing import WAITS, Node, Standing
from weftline_executor.model import events as model
from weftline_executor.model.records import Batch
from weftline_executor.model.states import ENGINE

MAX_RECOVERIES = 2
"""What the tests set the engine's limit to, so that it is reached."""

LEGAL = {
    "pause": ("running",),
    "resume": ("pausing", "paused"),
    "stop": ("running", "pausing", "paused", "stopping"),
    "complete": ("running", "pausing", "paused"),
    "rerun": ("success", "error", "stopped"),
    "retry": ("error", "stopped"),
}
TIMED_OUT = {"approval_timeout": FAILS, "event_timeout": FAILS}


class Reference(Standing):
    """One run of a plan. `apply` asserts that a batch may follow what came before; `at_rest` that nothing is stuck.

    `opened` gives how each attempt of a gate was told to end, by run, node and number: with a handle, or FAILS;
    `said` whether a command that completes a node rejects it, by the command's id, and `reused` how each node fired
    whose success the run takes over. A run that is a body is `inside` the bodies of a node, for an item.
    """

    def __init__(
        self,
        plan: Plan,
        run_id: str,
        opened: Mapping[tuple[str, str, int], str],
        said: Mapping[str, bool],
        reused: Mapping[str, str],
        inside: tuple[Bodies, int] | None = None,
    ) -> None:
        super().__init__(plan)
        self.run_id = run_id
        self.inside = inside
        self.reason = ""
        self.code = ""
        self.generation = 1
        self._opened = opened
        self._said = said
        self._reused = reused
        self._batch = 0
        self._begins_life = False
        self._kinds: list[type[model.Event]] = []

    def apply(self, batch: Batch, begins_life: bool) -> None:
        """Takes in a batch, which may be the run's first since an engine began to live."""
        self._batch += 1
        self._begins_life = begins_life
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
                assert self.state == "pausing" or not self.busy(), f"{self.busy()} run in a paused run"
            case model.RunResumed():
                assert before in LEGAL["retry" if event.mode == "retry" else "resume"]
                self._goes_on(event)
                if event.mode == "retry":
                    self.generation += 1
                    self.fault_in = 0
                    self.terminated = False
                for node in self.nodes.values():
                    node.unknown = False
            case _:
                assert before in LEGAL["stop"]
                self.terminated = self.terminated or event.mode == "terminate"

    def _goes_on(self, event: model.RunResumed) -> None:
        if self.inside is None:
            assert event.by.startswith("c"), "only a person resumes"
            return
        if event.mode == "retry":
            bodies, item = self.inside
            bodies.goes_on(item)
            assert (event.by, event.reason) == (ENGINE, "parent_retried")
        else:
            assert event.by.startswith("c") or (event.by, event.reason) == (ENGINE, "parent_resumed")

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
                late = self.fault_in and self._batch - self.fault_in > 1
                assert node.step.final or not late, f"{event.node} starts after a failure"
                assert not self.plan.concurrency or len(self.running()) < self.plan.concurrency
                assert node.reason != "retry" or event.at >= node.due
                if node.bodies:
                    node.bodies.anew += node.reason != "recovered"
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
                if event.reason == "empty_map":
                    assert (node.status, node.step.body is not None and node.step.body.skips) == ("running", True)
                    assert node.bodies is not None
                    assert not node.bodies.gives()
                    node.status, node.reason, node.told_in = "skipped", "empty_map", self._batch
                    return
                assert node.status == "pending"
                ends = model.RunCompleted in self._kinds or model.RunFailed in self._kinds
                if not node.step.final and any(step.final for step in self.plan.steps):
                    halted = self.state == "stopping" or self.fault_in
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
            case _ if node.bodies:
                assert (node.status, event.handle, node.bodies.active()) == ("running", "", []), event
                assert json.loads(bytes(event.output)) == node.bodies.gives()
                assert not (node.step.body and node.step.body.skips and not node.step.body.count)
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
                assert not node.bodies, f"{event.node} is cut off, whose bodies are only paused"
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
        halted = not node.step.final and (stopping or (self.fault_in and self._batch - self.fault_in > 1))
        maybe = not node.step.final and (halted or self.fault_in)
        waits = node.status == "pending" and node.reason in WAITS
        explained = node.bodies is not None and node.bodies.explains(event.code)
        own = event.code == "cancelled" or (self._begins_life and event.code in ("interrupted", "crash_loop"))
        if node.bodies and not own:
            assert explained, f"{event.node} fails with {event.code}, which none of its bodies explains"
        elif event.code == "cancelled":
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
        mendable = event.code in ("as_agreed", "node_failed") or (node.bodies is not None and not own)
        mendable = mendable and node.step.attempts > node.failures + 1
        usual = "retry" if mendable else "" if node.step.on_error == "fail" else node.step.on_error
        usual = "" if usual == "pause" and stopping else usual
        given_up = halted or (event.code in ("cancelled", "interrupted") and (own or not node.bodies))
        assert event.handled.value in ([""] if given_up else ["", usual] if maybe else [usual]), (event, usual)
        node.status, node.handled, node.code, node.told_in = "error", event.handled.value, event.code, self._batch
        node.failures += 1
        node.unknown = False
        if not node.handled and self.plan.fail_fast:
            self.fault_in = self.fault_in or self._batch

    def _ended(self, event: model.RunCompleted | model.RunFailed) -> None:
        failed = [node_id for node_id, node in self.nodes.items() if node.status == "error" and not node.handled]
        cut_off = [node_id for node_id, node in self.nodes.items() if node.reason == "run_stopped"]
        if isinstance(event, model.RunFailed):
            assert self.state != "stopping"
            assert event.node in failed
            assert event.code == self.nodes[event.node].code
            assert self.plan.fail_fast or not cut_off
            self.state, self.code = "error", event.code
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
        assert not self.cleaning(), f"the run ended, and bodies of these clean up: {self.cleaning()}"

    def at_rest(self, now: int, full: bool) -> None:
        """Nothing happens until somebody does something: asserts that there is nothing that should.

        Where it is `full`, the executor has no slot left.
        """
        running = self.running()
        self._bodies_at_rest()
        if self.state in FINAL:
            return
        for node_id, node in self.nodes.items():
            if node.step.final and self._finals_wait_for_resume():
                continue
            fate = self.fate(node_id, self._batch + 1)
            assert node.status != "pending" or fate in ("run", "wait"), f"{node_id} is not skipped, but {fate}"
        self._nothing_is_overdue(now)
        if self.state == "pausing" or (self.state == "stopping" and not self._finals_open()):
            busy = self.busy() if self.state == "pausing" else running
            assert busy or self.cleaning(), f"the run is {self.state}, and nothing runs"
        elif self.state == "paused":
            running = [n for n in self.busy() if not ((bodies := self.nodes[n].bodies) and bodies.ending)]
            assert not running, f"{running} run in a paused run"
        else:
            self._nothing_is_missing(running, now, full)

    def _finals_wait_for_resume(self) -> bool:
        """Whether the last of the others may have ended in a pause, so that no `finally` node is decided yet."""
        return self.state == "paused" and all(
            node.status == "pending" for node in self.nodes.values() if node.step.final
        )

    def _bodies_at_rest(self) -> None:
        for node_id, node in self.nodes.items():
            if node.bodies:
                goes_on = node.status == "pending" and node.reason == "recovered"
                works = "running" if node.status == "running" else "recovered" if goes_on else ""
                try:
                    stopping = self.state == "stopping"
                    node.bodies.at_rest(
                        self.state, works, stopping and not node.step.final, stopping or self.fault_in > 0
                    )
                except AssertionError as error:
                    error.add_note(f"the node is {node_id}")
                    raise

    def _finals_open(self) -> bool:
        finals = [node for node in self.nodes.values() if node.step.final]
        return self.finishing(self._batch + 1) and any(node.status in ("pending", "running") for node in finals)

    def _nothing_is_overdue(self, now: int) -> None:
        overdue = [n for n in self.waiting() if 0 < self.nodes[n].due < now]
        assert not overdue, f"{overdue} wait after their time"

    def _nothing_is_missing(self, running: list[str], now: int, full: bool) -> None:
        failed = [n for n, node in self.nodes.items() if node.status == "error" and node.handled == "pause"]
        held = [n for n in failed if self.nodes[n].step.final or not self._finals_open()]
        assert not held or self.state == "stopping", f"the run goes on, and nobody is asked about {held}"
        pending = [n for n, node in self.nodes.items() if node.status == "pending"]
        later = [n for n in pending if self.nodes[n].reason == "retry" and self.nodes[n].due > now] + self.waiting()
        ready = [n for n in pending if n not in later and self.fate(n, self._batch + 1) == "run"]
        if self.fault_in and not self._finals_open():
            assert running or self.cleaning(), "the run has failed, and does not end"
        elif ready:
            full = full or 0 < self.plan.concurrency <= len(running)
            assert full, f"{ready} could run, and only {running} do"
        else:
            assert running or later, "nothing runs or waits, and the run does not end"
