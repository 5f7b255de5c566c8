"""The event log in SQLite, the embedded default: write-ahead log, full sync, one transaction for all that waits."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from weftline_executor.errors import (
    StoreCorrupt,
    StoreLocked,
    StoreUnavailable,
    StoreUnusable,
)
from weftline_executor.model.events import Event
from weftline_executor.model.records import Batch, CommandRecord, Head, Retention, RunRecord
from weftline_executor.model.states import RunState
from weftline_executor.store import queries
from weftline_executor.store.batches import cut
from weftline_executor.store.opening import check_ours, connect, why_failed, why_unusable
from weftline_executor.store.worker import Worker
from weftline_executor.store.writing import BatchWriter

SCHEMA_VERSION = 3
FILE_NAME = "events.sqlite3"
LOCK_NAME = "lock"
PAGE_BYTES = 4 << 20
"""How many bytes of events one read gives at most, over its first batch."""

RUNS_AT_ONCE = 16
"""How many runs one transaction of retention deletes, so that commits need not wait for long."""

OLDEST_AT_ONCE = 1024
"""How many runs that may go are listed at once, where the log is too large."""

_T = TypeVar("_T")
_decoder = msgspec.json.Decoder(tuple[Event, ...])


class SqliteStore:
    """The Store port over one SQLite file in `directory`, which is made if missing and locked while open.

    Writes happen in one thread and reads in another, so that neither blocks the event loop nor each other.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer = Worker("weftline-store-writer")
        self._reader = Worker("weftline-store-reader")
        self._write_connection: sqlite3.Connection | None = None
        self._batch_writer: BatchWriter | None = None
        self._read_connection: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._epoch = ""
        self._log_id = ""
        self._last_commit = 0

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
        await self._in(self._writer, self._open)

    async def close(self) -> None:
        """See Store."""
        await self._in(self._reader, self._close_reader)
        await self._in(self._writer, self._close_writer)
        self._reader.close()
        self._writer.close()

    def append(self, batches: Sequence[Batch]) -> Awaitable[list[Batch]]:
        """See Store."""
        return self._in(self._writer, lambda: self._append(batches))

    async def read(self, workflow_id: str, after_seq: int, limit: int = 64) -> list[Batch]:
        """See Store."""
        batches = await self._in(self._reader, lambda: self._read(queries.READ, (workflow_id, after_seq, limit)))
        return [cut(batch, after_seq) for batch in batches]

    async def read_all(self, after_commit: int, limit: int = 64) -> list[Batch]:
        """See Store."""
        return await self._in(self._reader, lambda: self._read(queries.READ_ALL, (after_commit, limit)))

    async def compacted_commit(self) -> int:
        """See Store."""
        rows = await self._query(queries.META, ("compacted_commit",))
        return int(rows[0][0]) if rows else 0

    async def head(self, workflow_id: str) -> Head:
        """See Store."""
        rows = await self._query(queries.HEAD, (workflow_id,))
        return Head(*rows[0]) if rows else Head(0, 1)

    async def newest_run(self, workflow_id: str) -> RunRecord | None:
        """See Store."""
        runs = await self.runs(workflow_id, None, 1)
        return runs[0] if runs else None

    async def runs(self, workflow_id: str, before_seq: int | None, limit: int) -> list[RunRecord]:
        """See Store."""
        bound = before_seq if before_seq is not None else 1 << 62
        return [_run(row) for row in await self._query(queries.RUNS, (workflow_id, bound, limit))]

    async def workflows(
        self, states: frozenset[RunState], id_prefix: str, before: tuple[int, str] | None, limit: int, bodies: bool
    ) -> list[RunRecord]:
        """See Store."""
        started_at, run_id = before or (1 << 62, "")
        wanted = msgspec.json.encode(sorted(states)).decode()
        parameters = (started_at, run_id, id_prefix, len(states), wanted, bodies, limit)
        return [_run(row) for row in await self._query(queries.WORKFLOWS, parameters)]

    async def active_runs(self) -> list[RunRecord]:
        """See Store."""
        return [_run(row) for row in await self._query(queries.ACTIVE_RUNS, ())]

    async def find_command(self, workflow_id: str, command_id: str) -> CommandRecord | None:
        """See Store."""
        rows = await self._query(queries.FIND_COMMAND, (workflow_id, command_id))
        return CommandRecord(*rows[0]) if rows else None

    async def known_runs(self, run_ids: Sequence[str]) -> set[str]:
        """See Store."""
        asked = msgspec.json.encode(run_ids).decode()
        return {row[0] for row in await self._query(queries.KNOWN_RUNS, (asked,))}

    async def retain(self, retention: Retention, now: int) -> list[str]:
        """See Store."""
        expired = await self._query(queries.EXPIRED, (now - retention.max_age_ms, retention.max_runs))
        deleted: list[str] = []
        for begin in range(0, len(expired), RUNS_AT_ONCE):
            deleted += await self._delete(expired[begin : begin + RUNS_AT_ONCE])
        while await self._is_over(retention.max_bytes):
            oldest = await self._query(queries.OLDEST_ENDED, (OLDEST_AT_ONCE,))
            if not oldest:
                break
            for begin in range(0, len(oldest), RUNS_AT_ONCE):
                deleted += await self._delete(oldest[begin : begin + RUNS_AT_ONCE])
                if not await self._is_over(retention.max_bytes):
                    break
        return deleted

    async def _is_over(self, max_bytes: int) -> bool:
        return await self._in(self._writer, lambda: _used_bytes(self._writing()[0])) > max_bytes

    async def _delete(self, runs: Sequence[tuple[int]]) -> list[str]:
        return await self._in(self._writer, lambda: self._delete_runs([run[0] for run in runs]))

    def _in(self, worker: Worker, work: Callable[[], _T]) -> Awaitable[_T]:
        return worker.submit(lambda: self._done(work))

    def _done(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except sqlite3.Error as error:
            path = self._directory / FILE_NAME
            raise StoreUnavailable(why_failed(path, error)) from error

    async def _query(self, statement: str, parameters: Sequence[object]) -> list[Any]:
        return await self._in(self._reader, lambda: self._reading().execute(statement, parameters).fetchall())

    def _open(self) -> None:
        path = self._directory / FILE_NAME
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            check_ours(path)
            self._write_connection = connect(path)
            self._migrate(self._write_connection)
            self._read_meta(self._write_connection)
            self._batch_writer = BatchWriter(self._write_connection)
        except OSError as error:
            raise StoreUnusable(
                f"data directory {self._directory} can't be used: {error.strerror} (WEFTLINE_EXECUTOR_DATA_DIR)"
            ) from error
        except sqlite3.Error as error:
            raise StoreUnusable(why_unusable(path, error)) from error

    def _read_meta(self, connection: sqlite3.Connection) -> None:
        self._epoch = connection.execute(queries.META, ("epoch",)).fetchone()[0]
        connection.execute(queries.KEEP_META, ("log_id", uuid.uuid4().hex[:16]))
        self._log_id = connection.execute(queries.META, ("log_id",)).fetchone()[0]
        newest = connection.execute(queries.LAST_COMMIT).fetchone()[0]
        compacted = connection.execute(queries.META, ("compacted_commit",)).fetchone()
        self._last_commit = max(newest or 0, int(compacted[0]) if compacted else 0)

    def _take_lock(self) -> None:
        self._lock = os.open(self._directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise StoreLocked(str(self._directory)) from None

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreUnusable(
                f"{self._directory / FILE_NAME} has format {version}; this version reads up to {SCHEMA_VERSION}"
            )
        if version == 0:
            schema = files("weftline_executor.store").joinpath("schema.sql").read_text("utf-8")
            epoch = uuid.uuid4().hex[:16]
            connection.executescript(
                f"BEGIN IMMEDIATE; {schema} INSERT INTO meta VALUES ('epoch', '{epoch}'); "
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        elif version < SCHEMA_VERSION:
            changes = "; ".join(queries.CHANGES[version - 1 :])
            connection.executescript(f"BEGIN IMMEDIATE; {changes}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def _close_reader(self) -> None:
        if self._read_connection is not None:
            self._read_connection.close()
            self._read_connection = None

    def _close_writer(self) -> None:
        if self._write_connection is not None:
            self._write_connection.close()
            self._write_connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _reading(self) -> sqlite3.Connection:
        if self._read_connection is None:
            self._read_connection = connect(self._directory / FILE_NAME)
            self._read_connection.execute("PRAGMA query_only = ON")
        return self._read_connection

    def _writing(self) -> tuple[sqlite3.Connection, BatchWriter]:
        if self._write_connection is None or self._batch_writer is None:
            raise StoreUnavailable("the event log is closed")
        return self._write_connection, self._batch_writer

    def _append(self, batches: Sequence[Batch]) -> list[Batch]:
        connection, writer = self._writing()
        connection.execute("BEGIN IMMEDIATE")
        try:
            stored = writer.insert(batches, self._last_commit)
            connection.execute("COMMIT")
        except BaseException:
            # Before the rollback, which may fail too: a key that is not in the log must not be used again.
            writer.forget()
            _roll_back(connection)
            raise
        if stored:
            self._last_commit = stored[-1].commit
        return stored

    def _read(self, statement: str, parameters: Sequence[object]) -> list[Batch]:
        batches: list[Batch] = []
        size = 0
        for workflow_id, run_id, commit, body in self._reading().execute(statement, parameters):
            size += len(body)
            if batches and size > PAGE_BYTES:
                break
            try:
                batches.append(_batch(workflow_id, run_id, commit, body))
            except StoreCorrupt:
                if not batches:
                    raise
                break
        return batches

    def _delete_runs(self, runs: list[int]) -> list[str]:
        connection, writer = self._writing()
        connection.execute("BEGIN IMMEDIATE")
        try:
            ids = [connection.execute(queries.RUN_ID, (run,)).fetchone()[0] for run in runs]
            for run in runs:
                row = connection.execute(queries.RUN_RANGE, (run,)).fetchone()
                if row[-1]:
                    # Its workflow may go with it, and comes again with another key if it does.
                    writer.forget()
                parameters = dict(zip(("run", "workflow", "first", "last", "body"), row, strict=True))
                for statement in queries.DELETE_RUN:
                    connection.execute(statement, parameters)
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        return ids


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _batch(workflow_id: str, run_id: str, commit: int, body: bytes) -> Batch:
    try:
        events = _decoder.decode(body)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreCorrupt(workflow_id, run_id, commit, str(error)) from error
    if not events:
        raise StoreCorrupt(workflow_id, run_id, commit, "there are none")
    return Batch(workflow_id, run_id, events, commit=commit)


def _used_bytes(connection: sqlite3.Connection) -> int:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    size = connection.execute("PRAGMA page_size").fetchone()[0]
    return int((pages - free) * size)


def _run(row: tuple[Any, ...]) -> RunRecord:
    workflow_id, run_id, state, *rest = row
    return RunRecord(workflow_id, run_id, RunState(state), *rest)
