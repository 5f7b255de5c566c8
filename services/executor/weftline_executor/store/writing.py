"""Writes batches into the tables of the SQLite event log, in few statements however many batches there are.

Each statement lets the event loop's thread have the interpreter, and may have to wait until that gives it back; a
statement a row would make a commit of many runs take many times as long while the loop is busy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec

from weftline_executor.errors import BatchRefused, StaleWriter
from weftline_executor.model.records import Batch
from weftline_executor.model.states import RunState
from weftline_executor.store import queries
from weftline_executor.store.batches import pieces, run_change, started

ROWS_AT_ONCE = 64
LARGE_BODY = 64 * 1024
"""A body over so many bytes has a statement of its own, since a statement keeps copies of all that it is given."""

MAX_CACHED_KEYS = 100_000

# What SQLite or the encoder says of values that it will never take, as opposed to a disk that is full now.
_UNFIT = (sqlite3.IntegrityError, sqlite3.DataError, ValueError, TypeError, OverflowError)

_Row = tuple[Any, ...]


class BatchWriter:
    """Inserts batches within a transaction that its caller begins and ends; `forget` when that was rolled back.

    It is the only one that inserts workflows and runs, so it gives them their keys.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._workflow_keys: dict[str, int] = {}
        self._run_keys: dict[str, int] = {}
        self._newest_workflow: int = connection.execute(queries.NEWEST_WORKFLOW).fetchone()[0]
        self._newest_run: int = connection.execute(queries.NEWEST_RUN).fetchone()[0]

    def forget(self) -> None:
        """Keys that were given may not be in the log, or no longer."""
        self._workflow_keys.clear()
        self._run_keys.clear()

    def insert(self, batches: Sequence[Batch], commit: int) -> list[Batch]:
        """Inserts `batches` after `commit`, and gives them with theirs: that of the last piece of each.

        Raises BatchRefused and StaleWriter, as the store does; then the transaction is to be rolled back.
        """
        try:
            return self._insert(batches, commit)
        except _UNFIT as error:
            # One of many is at fault. The slow way finds out which.
            self._connection.rollback()
            self.forget()
            refused = self._refused(batches, commit) or {batch.workflow_id: str(error) for batch in batches}
            raise BatchRefused(list(refused), "; ".join(dict.fromkeys(refused.values()))) from error

    def _insert(self, batches: Sequence[Batch], commit: int) -> list[Batch]:
        self._meet({batch.workflow_id for batch in batches})
        rows = _Rows(self._workflow_keys)
        starts = [(batch, start) for batch in batches if (start := started(batch)) is not None]
        for batch, start in starts:
            self._newest_run += 1
            self._run_keys[batch.run_id] = self._newest_run
            parent = start.parent.workflow_id if start.parent else None
            workflow = self._workflow_keys[batch.workflow_id]
            times = start.seq, start.at, start.total_nodes
            rows.runs.append((self._newest_run, batch.run_id, workflow, RunState.RUNNING, *times, parent))
        self._find_runs({batch.run_id for batch in batches} - self._run_keys.keys())
        stored = []
        for batch in batches:
            commit = rows.take(batch, self._run_keys[batch.run_id], commit)
            stored.append(msgspec.structs.replace(batch, commit=commit, commands=()))
        self._write_all(rows)
        return stored

    def _write_all(self, rows: _Rows) -> None:
        heads = [(key, *move) for key, move in rows.moves.items()]
        moved = self._write(queries.MOVE_HEADS if len(heads) > 1 else queries.MOVE_HEAD, heads)
        if moved != len(rows.moves):
            raise self._stale(rows.moves)
        self._write(queries.INSERT_RUNS, rows.runs)
        self._write(queries.INSERT_CHUNKS, rows.chunks)
        for row in rows.large_chunks:
            self._write(queries.INSERT_CHUNKS, [row])
        self._write(queries.UPDATE_RUNS, [(key, *change) for key, change in rows.changes.items()])
        self._write(queries.INSERT_COMMANDS, rows.commands)
        for run_id in rows.ended:
            self._run_keys.pop(run_id, None)

    def _meet(self, workflow_ids: Collection[str]) -> None:
        """Makes sure that these workflows are there and their keys known."""
        unknown = [each for each in workflow_ids if each not in self._workflow_keys]
        if not unknown:
            return
        if len(self._workflow_keys) + len(unknown) > MAX_CACHED_KEYS:
            known = {each: self._workflow_keys[each] for each in workflow_ids if each in self._workflow_keys}
            self._workflow_keys = known
        found = self._keys(queries.WORKFLOW_KEYS, unknown)
        new = [each for each in unknown if each not in found]
        for number, workflow_id in enumerate(new, self._newest_workflow + 1):
            found[workflow_id] = number
        self._newest_workflow += len(new)
        self._workflow_keys.update(found)
        self._write(queries.INSERT_WORKFLOWS, [(found[each], each) for each in new])

    def _find_runs(self, run_ids: Collection[str]) -> None:
        if run_ids:
            self._run_keys.update(self._keys(queries.RUN_KEYS, run_ids))

    def _keys(self, query: str, ids: Collection[str]) -> dict[str, int]:
        asked = msgspec.json.encode(list(ids)).decode()
        found: dict[str, int] = msgspec.json.decode(self._connection.execute(query, (asked,)).fetchone()[0])
        return found

    def _write(self, query: str, rows: Sequence[_Row]) -> int:
        """Executes a query for all rows, and gives how many rows of its table it changed."""
        changed = begin = 0
        while begin < len(rows):
            # Powers of two, so that SQLite has a few statements to prepare and not one for each number.
            count = min(ROWS_AT_ONCE, 1 << (len(rows) - begin).bit_length() - 1)
            values = list(chain.from_iterable(rows[begin : begin + count]))
            changed += self._connection.execute(_statement(query, count, len(rows[begin])), values).rowcount
            begin += count
        return changed

    def _stale(self, moves: Mapping[int, tuple[int, int]]) -> BatchRefused:
        self._connection.rollback()
        for workflow_id, key in self._workflow_keys.items():
            if key in moves:
                row = self._connection.execute(queries.HEAD, (workflow_id,)).fetchone()
                if (row[0] if row else 0) != moves[key][0]:
                    return StaleWriter(workflow_id, moves[key][0])
        raise LookupError("heads that were not where they should be are there now")

    def _refused(self, batches: Sequence[Batch], commit: int) -> dict[str, str]:
        """Tries one batch after the other, and gives the workflows of which one can't be kept, and why."""
        refused: dict[str, str] = {}
        self._connection.execute("BEGIN IMMEDIATE")
        for batch in batches:
            if batch.workflow_id not in refused:
                try:
                    commit = self._insert([batch], commit)[0].commit
                except _UNFIT as error:
                    refused[batch.workflow_id] = str(error)
        self._connection.rollback()
        return refused


class _Rows:
    """The rows of one append by table; `moves` and `changes` by the key of what they change, `ended` are runs' ids."""

    def __init__(self, workflow_keys: Mapping[str, int]) -> None:
        self._workflow_keys = workflow_keys
        self.moves: dict[int, tuple[int, int]] = {}
        self.runs: list[_Row] = []
        self.chunks: list[_Row] = []
        self.large_chunks: list[_Row] = []
        self.changes: dict[int, tuple[RunState, int | None]] = {}
        self.commands: list[_Row] = []
        self.ended: list[str] = []

    def take(self, batch: Batch, run: int, commit: int) -> int:
        """Adds the rows of a batch of the run with this key, and gives the commit of its last piece."""
        workflow = self._workflow_keys[batch.workflow_id]
        before, head = self.moves.get(workflow, (batch.first_seq - 1, batch.first_seq - 1))
        if head != batch.first_seq - 1:
            raise StaleWriter(batch.workflow_id, batch.first_seq - 1)
        self.moves[workflow] = before, batch.last_seq
        for piece in pieces(batch.events):
            commit += 1
            chunks = self.chunks if len(piece.body) <= LARGE_BODY else self.large_chunks
            chunks.append((commit, workflow, run, piece.events[-1].seq, piece.body))
        change = run_change(batch)
        if change is not None:
            self.changes[run] = change.state, change.ended_at
            if change.ended_at is not None:
                self.ended.append(batch.run_id)
        self.commands += [(workflow, command.id, command.name, run, command.seq) for command in batch.commands]
        return commit


@lru_cache(maxsize=128)
def _statement(query: str, rows: int, columns: int) -> str:
    row = f"({','.join('?' * columns)})"
    return query.format(values=",".join([row] * rows))
