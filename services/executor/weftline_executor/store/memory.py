"""The event log in memory: for tests, and for runs that nobody needs after the process."""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from weftline_executor.errors import StaleWriter
from weftline_executor.model.records import Batch, CommandRecord, Head, Retention, RunRecord
from weftline_executor.model.states import RunState
from weftline_executor.store.batches import cut, run_change, started


@dataclass(slots=True)
class _Workflow:
    head: int = 0
    oldest: int = 1
    runs: list[RunRecord] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    commands: dict[str, CommandRecord] = field(default_factory=dict)


class MemoryStore:
    """The Store port over plain Python objects."""

    def __init__(self) -> None:
        self._epoch = uuid.uuid4().hex[:16]
        self._workflows: dict[str, _Workflow] = {}
        self._log: list[Batch] = []
        self._last_commit = 0
        self._compacted = 0

    @property
    def epoch(self) -> str:
        """See Store."""
        return self._epoch

    @property
    def last_commit(self) -> int:
        """See Store."""
        return self._last_commit

    async def open(self) -> None:
        """See Store."""

    async def close(self) -> None:
        """See Store."""

    async def append(self, batches: Sequence[Batch]) -> list[Batch]:
        """See Store."""
        heads: dict[str, int] = {}
        for batch in batches:
            head = heads.get(batch.workflow_id, self._workflow(batch.workflow_id).head)
            if batch.first_seq != head + 1:
                raise StaleWriter(batch.workflow_id, batch.first_seq - 1)
            heads[batch.workflow_id] = batch.last_seq
        return [self._append(batch) for batch in batches]

    def _append(self, batch: Batch) -> Batch:
        workflow = self._workflows.setdefault(batch.workflow_id, _Workflow())
        self._last_commit += 1
        stored = replace(batch, commit=self._last_commit, commands=())
        workflow.batches.append(stored)
        workflow.head = stored.last_seq
        self._log.append(stored)
        start = started(batch)
        if start is not None:
            workflow.runs.append(
                RunRecord(
                    batch.workflow_id,
                    batch.run_id,
                    RunState.RUNNING,
                    start.seq,
                    start.seq,
                    start.at,
                    None,
                    start.total_nodes,
                )
            )
        record = replace(workflow.runs[-1], last_seq=stored.last_seq)
        change = run_change(batch)
        workflow.runs[-1] = replace(record, state=change.state, ended_at=change.ended_at) if change else record
        for command in batch.commands:
            workflow.commands.setdefault(command.id, CommandRecord(command.name, batch.run_id, command.seq))
        return stored

    async def read(self, workflow_id: str, after_seq: int, limit: int = 64) -> list[Batch]:
        """See Store."""
        batches = self._workflow(workflow_id).batches
        start = bisect.bisect_right(batches, after_seq, key=lambda batch: batch.last_seq)
        return [cut(batch, after_seq) for batch in batches[start : start + limit]]

    async def read_all(self, after_commit: int, limit: int = 64) -> list[Batch]:
        """See Store."""
        start = bisect.bisect_right(self._log, after_commit, key=lambda batch: batch.commit)
        return self._log[start : start + limit]

    async def compacted_commit(self) -> int:
        """See Store."""
        return self._compacted

    async def head(self, workflow_id: str) -> Head:
        """See Store."""
        workflow = self._workflow(workflow_id)
        return Head(workflow.head, workflow.oldest)

    async def newest_run(self, workflow_id: str) -> RunRecord | None:
        """See Store."""
        runs = self._workflow(workflow_id).runs
        return runs[-1] if runs else None

    async def runs(self, workflow_id: str, before_seq: int | None, limit: int) -> list[RunRecord]:
        """See Store."""
        runs = reversed(self._workflow(workflow_id).runs)
        return [run for run in runs if before_seq is None or run.first_seq < before_seq][:limit]

    async def workflows(
        self, states: frozenset[RunState], id_prefix: str, before: tuple[int, str] | None, limit: int
    ) -> list[RunRecord]:
        """See Store."""
        newest = [workflow.runs[-1] for workflow in self._workflows.values() if workflow.runs]
        wanted = [
            run
            for run in newest
            if (not states or run.state in states)
            and run.workflow_id.startswith(id_prefix)
            and (before is None or (run.started_at, run.run_id) < before)
        ]
        wanted.sort(key=lambda run: (run.started_at, run.run_id), reverse=True)
        return wanted[:limit]

    async def active_runs(self) -> list[RunRecord]:
        """See Store."""
        return [run for workflow in self._workflows.values() for run in workflow.runs if run.ended_at is None]

    async def find_command(self, workflow_id: str, command_id: str) -> CommandRecord | None:
        """See Store."""
        return self._workflow(workflow_id).commands.get(command_id)

    async def retain(self, retention: Retention, now: int) -> int:
        """See Store; `max_bytes` is not counted in memory."""
        deleted = 0
        for workflow in self._workflows.values():
            ended = sum(run.ended_at is not None for run in workflow.runs)
            while workflow.runs and (ended_at := workflow.runs[0].ended_at) is not None:
                if now - ended_at <= retention.max_age_ms and ended <= retention.max_runs:
                    break
                self._delete_first_run(workflow)
                ended -= 1
                deleted += 1
        return deleted

    def _delete_first_run(self, workflow: _Workflow) -> None:
        run = workflow.runs.pop(0)
        gone = {batch.commit for batch in workflow.batches if batch.run_id == run.run_id}
        workflow.batches = [batch for batch in workflow.batches if batch.commit not in gone]
        workflow.oldest = run.last_seq + 1
        workflow.commands = {key: value for key, value in workflow.commands.items() if value.run_id != run.run_id}
        self._log = [batch for batch in self._log if batch.commit not in gone]
        self._compacted = max(self._compacted, *gone)

    def _workflow(self, workflow_id: str) -> _Workflow:
        return self._workflows.get(workflow_id) or _Workflow()
