"""The event log in memory: for tests, and for runs that nobody needs after the process."""

from __future__ import annotations

import bisect
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from weftline_executor.errors import BatchRefused, StaleWriter
from weftline_executor.model.records import Batch, CommandRecord, Head, Retention, RunRecord
from weftline_executor.model.states import RunState
from weftline_executor.store.batches import Piece, cut, pieces, run_change, started


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
        self._log_id = uuid.uuid4().hex[:16]
        self._workflows: dict[str, _Workflow] = {}
        self._log: list[Batch] = []
        self._last_commit = 0
        self._compacted = 0

    @property
    def epoch(self) -> str:
        """See Store."""
        return self._epoch

    @property
    def log_id(self) -> str:
        """See Store."""
        return self._log_id

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
        cut_up = [_pieces(batch) for batch in batches]
        return [self._append(batch, parts) for batch, parts in zip(batches, cut_up, strict=True)]

    def _append(self, batch: Batch, parts: Sequence[Piece]) -> Batch:
        workflow = self._workflows.setdefault(batch.workflow_id, _Workflow())
        for part in parts:
            self._last_commit += 1
            kept = Batch(batch.workflow_id, batch.run_id, part.events, commit=self._last_commit)
            workflow.batches.append(kept)
            self._log.append(kept)
        stored = structs.replace(batch, commit=self._last_commit, commands=())
        workflow.head = stored.last_seq
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
                    start.parent.workflow_id if start.parent else "",
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
        self, states: frozenset[RunState], id_prefix: str, before: tuple[int, str] | None, limit: int, bodies: bool
    ) -> list[RunRecord]:
        """See Store."""
        newest = [workflow.runs[-1] for workflow in self._workflows.values() if workflow.runs]
        wanted = [
            run
            for run in newest
            if (not states or run.state in states)
            and run.workflow_id.startswith(id_prefix)
            and (bodies or not run.parent)
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

    async def known_runs(self, run_ids: Sequence[str]) -> set[str]:
        """See Store."""
        kept = {run.run_id for workflow in self._workflows.values() for run in workflow.runs}
        return kept.intersection(run_ids)

    async def retain(self, retention: Retention, now: int) -> list[str]:
        """See Store; `max_bytes` is not counted in memory."""
        deleted: list[str] = []
        for workflow_id, workflow in list(self._workflows.items()):
            expired = _expired(workflow.runs, retention, now)
            if expired:
                is_body = bool(workflow.runs[-1].parent)
                deleted += [run.run_id for run in workflow.runs[:expired]]
                self._delete_first_runs(workflow, expired)
                if is_body and not workflow.runs:
                    del self._workflows[workflow_id]
        if deleted:
            kept = {batch.commit for workflow in self._workflows.values() for batch in workflow.batches}
            self._log = [batch for batch in self._log if batch.commit in kept]
        return deleted

    def _delete_first_runs(self, workflow: _Workflow, count: int) -> None:
        last_seq = workflow.runs[count - 1].last_seq
        end = bisect.bisect_right(workflow.batches, last_seq, key=lambda batch: batch.last_seq)
        self._compacted = max(self._compacted, workflow.batches[end - 1].commit)
        del workflow.runs[:count], workflow.batches[:end]
        workflow.oldest = last_seq + 1
        kept = {run.run_id for run in workflow.runs}
        workflow.commands = {key: value for key, value in workflow.commands.items() if value.run_id in kept}

    def _workflow(self, workflow_id: str) -> _Workflow:
        return self._workflows.get(workflow_id) or _Workflow()


def _pieces(batch: Batch) -> list[Piece]:
    try:
        return pieces(batch.events)
    except (ValueError, TypeError, OverflowError) as error:
        raise BatchRefused([batch.workflow_id], str(error)) from error


def _expired(runs: Sequence[RunRecord], retention: Retention, now: int) -> int:
    """How many of a workflow's oldest runs may go."""
    beyond = sum(run.ended_at is not None for run in runs) - retention.max_runs
    for count, run in enumerate(runs):
        if run.ended_at is None or (now - run.ended_at <= retention.max_age_ms and count >= beyond):
            return count
    return len(runs)
