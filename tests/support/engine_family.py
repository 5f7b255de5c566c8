"""The runs of one workflow and of all bodies in them, as the log tells them: each held to its own reference."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tests.support.engine_bodies import FINAL
from tests.support.engine_model import Reference
from tests.support.engine_plans import Plan
from weftline_executor.model import events as model
from weftline_executor.model.records import Batch
from weftline_executor.replay import RunProjection


@dataclass(slots=True)
class Member:
    """One run: its reference, the fold of its events, and the number of the batch that was its last so far.

    A body has a run `around`.
    """

    workflow_id: str
    reference: Reference
    fold: RunProjection
    around: Reference | None = None
    last: int = 0


@dataclass(slots=True)
class Family:
    """All runs of a plan. `apply` asserts that a batch may follow, `at_rest` that nothing is stuck anywhere.

    `opened` and `said` are as for a reference; `begins` are the numbers of batches at each start of an engine, and
    `begins_at` with which node each rerun begins, by its command.
    """

    plan: Plan
    opened: Mapping[tuple[str, str, int], str]
    said: Mapping[str, bool]
    begins: Collection[int]
    begins_at: Mapping[str, str]
    runs: list[Member] = field(default_factory=list)
    acted: set[str] = field(default_factory=set)
    _by_run: dict[str, Member] = field(default_factory=dict)
    _newest: dict[str, Member] = field(default_factory=dict)
    _seqs: dict[str, int] = field(default_factory=dict)
    _batches: int = 0

    def members(self) -> list[Member]:
        """The newest run and all bodies in it, the outer ones first."""
        found = self.runs[-1:]
        for member in found:  # which grows meanwhile
            for node in member.reference.nodes.values():
                inner = sorted(node.bodies.runs.items()) if node.bodies else []
                found += [self._by_run[run.run_id] for _, run in inner if isinstance(run, Reference)]
        return found

    def newest(self, workflow_id: str) -> Member:
        """The newest run of a workflow."""
        return self._newest[workflow_id]

    def active(self) -> list[Member]:
        """Those that have not ended."""
        return [member for member in self.members() if member.reference.state not in FINAL]

    def apply(self, batch: Batch) -> None:
        """Takes in the next batch."""
        first = batch.events[0]
        if isinstance(first, model.RunStarted):
            self._begin(batch, first)
        seq = self._seqs.get(batch.workflow_id, 0)
        assert [event.seq for event in batch.events] == list(range(seq + 1, seq + 1 + len(batch.events)))
        self._seqs[batch.workflow_id] = batch.last_seq
        member = self._by_run[batch.run_id]
        assert member is self._newest[batch.workflow_id]
        self._acts(batch)
        member.reference.apply(batch, any(member.last <= begin <= self._batches for begin in self.begins))
        for event in batch.events:
            member.fold.apply(event)
        self._batches += 1
        member.last = self._batches

    def at_rest(self, now: int, slots: int) -> None:
        """Asserts that nothing is stuck while nobody does anything."""
        members = [member.reference for member in self._by_run.values()]
        used = sum(not each.nodes[node_id].step.body for each in members for node_id in each.running())
        assert used <= slots
        for each in members:
            each.at_rest(now, full=used >= slots)

    def _begin(self, batch: Batch, started: model.RunStarted) -> None:
        before = self._newest.get(batch.workflow_id)
        assert before is None or before.reference.state in FINAL
        fold = RunProjection(batch.workflow_id, batch.run_id)
        if started.parent is None:
            member = Member(batch.workflow_id, self._of_client(batch, started), fold)
        else:
            around = self._by_run[started.parent.run_id].reference
            member = Member(batch.workflow_id, self._of_node(batch, started.parent), fold, around)
        self._by_run[batch.run_id] = self._newest[batch.workflow_id] = member
        if started.parent is None:
            self.runs.append(member)

    def _of_client(self, batch: Batch, started: model.RunStarted) -> Reference:
        reused: dict[str, str] = {}
        if started.rerun_of:
            earlier = self.runs[-1].reference
            assert started.rerun_of == earlier.run_id
            reused = earlier.reusable(self.begins_at[started.by])
        return Reference(self.plan, batch.run_id, self.opened, self.said, reused)

    def _of_node(self, batch: Batch, parent: model.ParentNode) -> Reference:
        around = self._by_run[parent.run_id]
        node = around.reference.nodes[parent.node_id]
        assert node.bodies is not None
        assert (parent.workflow_id, parent.depth) == (around.workflow_id, around.workflow_id.count(":") // 2 + 1)
        assert (parent.item is None) == (node.bodies.body.items is None)
        item = parent.item or 0
        made = Reference(node.bodies.body.plan, batch.run_id, self.opened, self.said, {}, (node.bodies, item))
        node.bodies.begins(item, made)
        return made

    def _acts(self, batch: Batch) -> None:
        # An event that is sent completes several nodes, at once.
        by = {command_id for event in batch.events if (command_id := _by(event)).startswith("c")}
        assert not by & self.acted, f"a command acted twice: {by & self.acted}"
        self.acted |= by


def _by(event: model.Event) -> str:
    """Who caused an event."""
    if isinstance(event, model.NodeFailed) and event.code == "rejected":
        return event.error.removeprefix("rejected by ")
    return str(getattr(event, "by", ""))
