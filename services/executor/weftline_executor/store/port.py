"""What the engine asks of an event log; every adapter passes the same suite of tests."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from weftline_executor.model.records import Batch, CommandRecord, Head, Retention, RunRecord
from weftline_executor.model.states import RunState


class Store(Protocol):
    """An append-only log of batches, ordered within each workflow by seq and over all workflows by commit.

    All methods may raise StoreUnavailable; nothing of a failed append is kept.
    """

    @property
    def epoch(self) -> str:
        """The log's incarnation: a random id, made when the log is made."""
        ...

    @property
    def log_id(self) -> str:
        """The log's own id: made with the log, and kept when a backup of it is restored, which gets a new epoch."""
        ...

    @property
    def last_commit(self) -> int:
        """The place of the last batch; 0 when there is none."""
        ...

    async def open(self) -> None:
        """Makes the log usable. Raises StoreLocked or StoreUnusable."""
        ...

    async def close(self) -> None:
        """Lets go of the log, after what was asked before."""
        ...

    def append(self, batches: Sequence[Batch]) -> Awaitable[list[Batch]]:
        """Commits all `batches` at once and gives them back with their `commit`, durable.

        An adapter that works in a thread begins when it is called, before it is awaited.
        A batch whose events are large is kept in several pieces with consecutive commits; its `commit` is the last of
        them, and reads give each piece as a batch.

        Raises StaleWriter when one doesn't continue its workflow's sequence, and BatchRefused, which names the
        workflows at fault, when the log can't hold one; then none is kept.
        """
        ...

    async def read(self, workflow_id: str, after_seq: int, limit: int = 64) -> list[Batch]:
        """The batches with events after `after_seq`, oldest first, `limit` at most; the first is cut to fit.

        Commands are not given back. Raises StoreCorrupt when the first is damaged; one further on ends the list.
        """
        ...

    async def read_all(self, after_commit: int, limit: int = 64) -> list[Batch]:
        """The batches of all workflows after `after_commit`, in the order of commits, `limit` at most.

        Raises StoreCorrupt as `read` does.
        """
        ...

    async def compacted_commit(self) -> int:
        """The last commit that retention deleted; cursors before it can't be honoured. 0 when none was."""
        ...

    async def head(self, workflow_id: str) -> Head:
        """Where the workflow's sequence is; seq 0 for a workflow that never ran."""
        ...

    async def newest_run(self, workflow_id: str) -> RunRecord | None:
        """The newest run that is kept of a workflow."""
        ...

    async def runs(self, workflow_id: str, before_seq: int | None, limit: int) -> list[RunRecord]:
        """Runs of a workflow, newest first, with first seqs below `before_seq` (None: all)."""
        ...

    async def workflows(
        self, states: frozenset[RunState], id_prefix: str, before: tuple[int, str] | None, limit: int, bodies: bool
    ) -> list[RunRecord]:
        """The newest run of each workflow, the latest started first; those that are bodies of nodes only with `bodies`.

        `states` empty means any; `before` is the (started_at, run_id) of the last one on the page before.
        """
        ...

    async def active_runs(self) -> list[RunRecord]:
        """The runs that have not ended."""
        ...

    async def find_command(self, workflow_id: str, command_id: str) -> CommandRecord | None:
        """A command of this workflow that was accepted before, while its run is kept."""
        ...

    async def known_runs(self, run_ids: Sequence[str]) -> set[str]:
        """Which of these runs are kept, of whatever workflow."""
        ...

    async def retain(self, retention: Retention, now: int) -> list[str]:
        """Deletes what `retention` lets go at `now` (ms since the Unix epoch); gives the ids of the runs.

        Whole ended runs go, the oldest of a workflow first. A workflow's sequence never starts again, but that of a
        body, whose id never comes again once its run is deleted. Appends go on
        between the deletions.
        """
        ...
