"""Whatever happens to a run, in whatever order: the engine does what a reference allows, and never stands still."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.support.engine_bodies import FINAL, HELD
from tests.support.engine_family import Family, Member
from tests.support.engine_gates import LATER_SECONDS
from tests.support.engine_lives import SLOTS, Lives
from tests.support.engine_model import LEGAL, MAX_RECOVERIES, Reference
from tests.support.engine_plans import FAILS, Plan, plans
from weftline_executor.engine import CommandResult
from weftline_executor.errors import (
    CommandReused,
    FollowsParent,
    IllegalCommand,
    NothingWaits,
    RunActive,
    StoreUnavailable,
)
from weftline_executor.model import events as model
from weftline_executor.replay import RunProjection

COMMANDS = (
    *("pause", "pause_now", "resume", "stop", "stop_now", "retry", "start", "rerun"),
    *("complete", "complete_no", "complete_go"),
)
"""What a person does; of those that complete nodes one rejects, and one sends the event `go`."""
CAUSES: dict[str, type[model.Event]] = {
    "start": model.RunStarted,
    "pause": model.RunPaused,
    "resume": model.RunResumed,
    "retry": model.RunResumed,
    "rerun": model.RunStarted,
    "stop": model.RunStopping,
}
OUTCOMES = st.sampled_from(("", "", "", FAILS, FAILS, "later", "hopeless", "left", "right"))
GATE = st.tuples(st.integers(0, 9), OUTCOMES)
AT = st.sampled_from((0, 0, 0, 1, 2, 3, 4))
"""Which run a command is for: 0 the run that a client started, else one of those of the bodies in it."""

REFUSALS = FollowsParent | IllegalCommand | NothingWaits | RunActive
EXAMPLES = int(os.environ.get("WEFTLINE_MODEL_EXAMPLES", "200"))
"""How many runs are drawn; `make chaos` draws many more."""

STEPS = 25
ROUNDS = 200
"""How often the gates that are there are opened until a run has to end."""


class EngineMachine(RuleBasedStateMachine):
    """Draws what is done to one workflow; after each step the log, the engine and the reference have to agree."""

    @initialize(plan=plans())
    def begin(self, plan: Plan) -> None:
        """An engine begins to live, and a first run is started."""
        self.plan = plan
        self.lives = Lives()
        self.taken_in = 0
        self.issued: dict[str, tuple[str, str, CommandResult | None]] = {}
        self.said: dict[str, bool] = {}
        self.begins_at: dict[str, str] = {}
        self.broken: list[BaseException] = []
        self.family = Family(plan, self.lives.board.opened, self.said, self.lives.begins, self.begins_at)
        self.lives.begin()
        self.command("start", 0)

    @property
    def run(self) -> Reference:
        """The newest run that a client started."""
        return self.family.runs[-1].reference

    @rule(at=st.integers(0, 9), outcome=OUTCOMES)
    def open(self, at: int, outcome: str) -> None:
        """One gate opens."""
        self._open(at, outcome)
        self.lives.rest()

    @rule(
        what=st.lists(
            st.tuples(st.integers(0, 5), AT, st.one_of(GATE, st.sampled_from(COMMANDS))), min_size=2, max_size=4
        )
    )
    def all_at_once(self, what: list[tuple[int, int, tuple[int, str] | str]]) -> None:
        """Gates open and commands come within a few turns of the loop."""
        for turns, at, each in what:
            if isinstance(each, str):
                self._issue(each, self._new_id(), self._target(each, at))
            else:
                self._open(*each)
            self.lives.turn(turns)
        self.lives.rest()

    @rule(turns=st.integers(0, 3))
    def slow_down(self, turns: int) -> None:
        """From now on, the log takes some turns of the loop for each commit."""
        self.lives.store.turns = turns

    @rule(turns=st.integers(0, 8), gate=GATE, name=st.sampled_from(COMMANDS))
    def crash_in_between(self, turns: int, gate: tuple[int, str], name: str) -> None:
        """The process dies some turns after a gate has opened and a command has come."""
        self._open(*gate)
        self._issue(name, self._new_id(), self._target(name, 0))
        self.lives.turn(turns)
        self.crash()

    @rule(name=st.sampled_from(COMMANDS), at=AT)
    def command(self, name: str, at: int) -> None:
        """A command comes while nothing else happens: it is taken exactly when it is legal."""
        command_id, target = self._new_id(), self._target(name, at)
        legal = self._is_legal(name, target)
        task = self._issue(name, command_id, target)
        lived = self.lives.rest()
        self._take_in()
        if lived and not self.lives.store.full:
            self._check_answer(name, command_id, task, legal)

    @rule(at=st.integers(0, 99), name=st.sampled_from(COMMANDS))
    def command_again(self, at: int, name: str) -> None:
        """A command id comes again, with the same command or with another."""
        if self.lives.store.full:
            return
        command_id = sorted(self.issued)[at % len(self.issued)]
        known, workflow_id, result = self.issued[command_id]
        task = self._issue(name, command_id, self.family.newest(workflow_id))
        if not self.lives.rest() or result is None:
            return
        if _kind(known) == _kind(name):
            again = task.result()
            assert (again.run_id, again.seq) == (result.run_id, result.seq)
        else:
            assert isinstance(task.exception(), CommandReused)

    @rule(appends=st.integers(0, 2), keeps=st.booleans())
    def doom(self, appends: int, keeps: bool) -> None:
        """The process will die at one of the next appends."""
        self.lives.store.die_at(appends, keeps)

    @rule()
    def crash(self) -> None:
        """The process dies while nothing happens."""
        self._take_in()
        self.lives.die()
        self.lives.begin()

    @rule()
    def pass_time(self) -> None:
        """Enough time passes for every retry and every grace."""
        self.lives.pass_time(LATER_SECONDS + 60)
        self.lives.rest()

    @rule()
    def fill_disk(self) -> None:
        """Nothing can be written any more."""
        self.lives.store.full = True

    @rule()
    def free_disk(self) -> None:
        """There is space again."""
        self._free_disk()

    @invariant()
    def agrees(self) -> None:
        """The log is what the reference allows, the engine's state is its fold, and nothing stands still."""
        self._take_in()
        assert not self.broken
        if self.lives.store.full:
            return
        self.family.at_rest(self.lives.now(), SLOTS)
        active = {member.workflow_id: member for member in self.family.active()}
        assert set(self.lives.engine.runs) == set(active)
        for workflow_id, run in self.lives.engine.runs.items():
            assert run.state == active[workflow_id].reference.state
            assert _facts(run.projection) == _facts(active[workflow_id].fold)

    def teardown(self) -> None:
        """When every gate opens and somebody resumes, or at last stops it, the run ends."""
        if not hasattr(self, "lives"):
            return
        try:
            self._free_disk()
            for done in range(ROUNDS):
                self.agrees()
                if self._ended():
                    break
                # What fails each time and pauses its run then is for a person to give up.
                wanted = "resume" if done < ROUNDS / 4 else "stop"
                for member in self.family.active():
                    if member.reference.state == "paused" and self._is_legal(wanted, member):
                        self._issue(wanted, self._new_id(), member)
                    if member.reference.state == "running" and member.reference.waiting():
                        self._issue("complete", self._new_id(), member)
                for node_id in self.lives.board.waiting():
                    self.lives.board.open(node_id, "")
                self.lives.pass_time(LATER_SECONDS + 60)
                self.lives.rest()
            assert self._ended(), f"the run is {self.run.state} for ever"
        finally:
            self.lives.die()

    def _free_disk(self) -> None:
        self.lives.store.full = False
        # A body that asks in the moment before the log is written again asks once more, a second later.
        for _ in range(2):
            self.lives.pass_time(2)
            self.lives.rest()

    def _open(self, at: int, outcome: str) -> None:
        waiting = self.lives.board.waiting()
        if not waiting:
            return
        node_id = waiting[at % len(waiting)]
        is_branch = self.plan.step(node_id).type == "model.branch"
        fails = outcome in (FAILS, "later", "hopeless")
        self.lives.board.open(node_id, FAILS if fails else outcome if is_branch else "", outcome if fails else "")

    def _new_id(self) -> str:
        return f"c{len(self.issued):04}"

    def _target(self, name: str, at: int) -> Member | None:
        """The run that a command is for; None before there is any."""
        found = self.family.members()
        if _kind(name) == "complete":
            found = [each for each in found if each.reference.waiting() or each.reference.unknown()] or found
        return found[at % len(found)] if found else None

    def _issue(self, name: str, command_id: str, target: Member | None) -> asyncio.Task[CommandResult]:
        commands = self.lives.engine.commands
        workflow_id = target.workflow_id if target else self.lives.workflow_id
        common: dict[str, Any] = {"by": command_id, "reason": "", "command_id": command_id}
        match _kind(name):
            case "start":
                work = commands.start(workflow_id, self.plan.definition(), by=command_id, command_id=command_id)
            case "pause":
                work = commands.pause(workflow_id, immediate=name == "pause_now", **common)
            case "resume":
                work = commands.resume(workflow_id, **common)
            case "stop":
                work = commands.stop(workflow_id, grace_ms=None if name == "stop_now" else 30_000, **common)
            case "retry":
                work = commands.retry(workflow_id, **common)
            case "rerun":
                self.begins_at.setdefault(command_id, self._any_node(command_id, self.plan))
                work = commands.rerun(
                    workflow_id, from_node=self.begins_at[command_id], by=command_id, command_id=command_id
                )
            case _:
                work = self._complete(name, command_id, target)
        task = self.lives.ask(work)
        self.issued.setdefault(command_id, (name, workflow_id, None))
        task.add_done_callback(lambda done: self._answered(name, command_id, done))
        return task

    @staticmethod
    def _any_node(command_id: str, plan: Plan, among: Sequence[str] = ()) -> str:
        nodes = among or [step.id for step in plan.steps]
        return nodes[int(command_id[1:]) % len(nodes)]

    def _complete(self, name: str, command_id: str, target: Member | None) -> Coroutine[Any, Any, CommandResult]:
        data = b'{"approved":false}' if name == "complete_no" else b"1"
        self.said[command_id] = name == "complete_no"
        waiting = [*target.reference.waiting(), *target.reference.unknown()] if target else []
        workflow_id = target.workflow_id if target else self.lives.workflow_id
        to = (
            {"event": "go"}
            if name == "complete_go"
            else {"node_id": self._any_node(command_id, target.reference.plan if target else self.plan, waiting)}
        )
        commands = self.lives.engine.commands
        return commands.complete(workflow_id, data=data, by=command_id, command_id=command_id, **to)

    def _answered(self, name: str, command_id: str, task: asyncio.Task[CommandResult]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            known, workflow_id, _ = self.issued[command_id]
            if _kind(known) == _kind(name):
                self.issued[command_id] = (name, workflow_id, task.result())
        elif isinstance(error, REFUSALS | StoreUnavailable | CommandReused):
            pass
        else:
            self.broken.append(error)

    def _is_legal(self, name: str, target: Member | None) -> bool:
        if target is None:
            return name == "start"
        run = target.reference
        if target.around and (
            name in ("start", "retry", "rerun") or (name == "resume" and target.around.state in HELD)
        ):
            return False
        if name == "start":
            return run.state in FINAL
        waiting = run.waiting("event") if name == "complete_go" else [*run.waiting(), *run.unknown()]
        return run.state in LEGAL[_kind(name)] and (_kind(name) != "complete" or bool(waiting))

    def _check_answer(self, name: str, command_id: str, task: asyncio.Task[CommandResult], legal: bool) -> None:
        if not legal:
            assert isinstance(task.exception(), REFUSALS), (task, self.run.state)
            return
        result = task.result()
        assert result.run_id in [member.reference.run_id for member in self.family.members()]
        mine = [batch for batch in self.lives.store.appended if batch.workflow_id == result.workflow_id]
        cause = next(event for batch in mine for event in batch.events if event.seq == result.seq)
        if isinstance(cause, model.NodeFailed):
            assert (name, cause.code, cause.error) == ("complete_no", "rejected", f"rejected by {command_id}")
        else:
            assert (type(cause), getattr(cause, "by", "")) == (
                CAUSES.get(_kind(name), model.NodeSucceeded),
                command_id,
            )

    def _ended(self) -> bool:
        return not self.family.active()

    def _take_in(self) -> None:
        """Shows the reference what is new in the log."""
        appended = self.lives.store.appended
        for batch in appended[self.taken_in :]:
            self.taken_in += 1
            note(f"log {self.taken_in} {batch.workflow_id}: {[_told(event) for event in batch.events]}")
            self.family.apply(batch)


def _told(event: model.Event) -> str:
    """An event in a few words, for whoever looks for what went wrong."""
    named = (
        getattr(event, name, "") for name in ("node", "attempt", "state", "status", "reason", "handled", "code", "by")
    )
    return " ".join([type(event).__name__, *(str(word) for word in named if word)])


def _kind(name: str) -> str:
    return name.partition("_")[0]


def _facts(projection: RunProjection) -> dict[str, Any]:
    """All that a projection holds, but telemetry."""
    nodes = {
        node_id: {name: getattr(node, name) for name in node.__slots__ if name != "progress"}
        for node_id, node in projection.nodes.items()
    }
    return {**vars(projection), "nodes": nodes}


@pytest.fixture(autouse=True)
def reachable_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the limit on recoveries be reached within an example."""
    monkeypatch.setattr("weftline_executor.engine.takeup.MAX_RECOVERIES", MAX_RECOVERIES)


def test_whatever_happens_the_engine_does_what_the_reference_allows() -> None:
    # To shrink a failure takes minutes, and the log that it prints can be read as it is.
    phases = set(Phase) - {Phase.shrink}
    chosen = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, phases=phases, report_multiple_bugs=False)
    run_state_machine_as_test(EngineMachine, settings=chosen)
