"""What only the SQLite log has: a directory, a lock, a format, and a disk that outlives the process."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.unit.executor.store.batches import batch, end, line, put_run, seqs, start
from weftline_executor.errors import BatchRefused, StoreCorrupt, StoreLocked, StoreUnavailable, StoreUnusable
from weftline_executor.model.records import Retention
from weftline_executor.model.states import RunState
from weftline_executor.store import SqliteStore, queries
from weftline_executor.store.sqlite import FILE_NAME, PAGE_BYTES, RUNS_AT_ONCE, SCHEMA_VERSION

ROOT = Path(__file__).resolve().parents[4]


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteStore]:
    """A store over a directory, closed at the end of the block."""
    store = SqliteStore(directory)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def test_a_log_is_as_it_was_when_it_is_opened_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r0")
        await put_run(store, "w", "r1", ends=False)
        epoch, commit = store.epoch, store.last_commit
    async with opened(tmp_path) as store:
        assert (store.epoch, store.last_commit) == (epoch, commit)
        assert await seqs(store, "w") == list(range(1, 8))
        assert [run.run_id for run in await store.active_runs()] == ["r1"]
        await store.append([batch("w", "r1", line(8))])
        assert store.last_commit == commit + 1


async def test_a_new_directory_is_made_and_has_a_new_epoch(tmp_path: Path) -> None:
    async with opened(tmp_path / "deep" / "one") as one, opened(tmp_path / "deep" / "two") as two:
        assert one.epoch != two.epoch


async def test_the_last_commit_is_known_after_all_were_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r")
        await store.retain(Retention(0, 1, 1 << 60), now=1 << 40)
    async with opened(tmp_path) as store:
        assert (store.last_commit, await store.compacted_commit()) == (3, 3)


async def test_a_directory_in_use_is_refused_and_free_again_after_the_close(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreLocked) as caught:
            async with opened(tmp_path):
                pass
        assert caught.value.path == str(tmp_path)
    async with opened(tmp_path) as store:
        assert store.epoch


async def test_a_directory_that_cannot_be_made_is_refused_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match=r"Not a directory.*WEFTLINE_EXECUTOR_DATA_DIR"):
        async with opened(tmp_path / "file" / "data"):
            pass


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    content = b"these are my notes " * 500
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(StoreUnusable, match="is not a usable event log"):
        async with opened(tmp_path):
            pass
    assert (tmp_path / FILE_NAME).read_bytes() == content


async def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreUnusable, match=f"has format {SCHEMA_VERSION + 1}; this version reads up to"):
        async with opened(tmp_path):
            pass


async def test_a_log_of_the_first_version_is_read_and_made_one_of_this(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r")
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.executescript("DROP INDEX command_run; ALTER TABLE run DROP COLUMN parent; PRAGMA user_version = 1;")
    for _ in range(2):
        async with opened(tmp_path) as store:
            assert await seqs(store, "w") == [1, 2, 3, 4]
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'command_run'").fetchone()[0] == 1


@pytest.mark.parametrize("body", [b'[{"type":"workflow.st', b"\xff", b"[]", b'[{"type":"nothing"}]', b"[" * 100_000])
async def test_damaged_events_are_named_and_what_is_before_and_after_them_can_be_read(
    tmp_path: Path, body: bytes
) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "good", "g")
        await put_run(store, "bad", "b")
        store._writing()[0].execute("UPDATE chunk SET body = ? WHERE commit_no = 5", (body,))
        assert await seqs(store, "good") == [1, 2, 3, 4]
        assert await seqs(store, "bad") == [1]
        assert [each.commit for each in await store.read_all(0)] == [1, 2, 3, 4]
        for read in (store.read("bad", 1), store.read_all(4)):
            with pytest.raises(StoreCorrupt) as caught:
                await read
            assert (caught.value.workflow_id, caught.value.run_id, caught.value.commit) == ("bad", "b", 5)
        assert await seqs(store, "bad", 3) == [4]


async def test_a_run_id_that_is_taken_is_refused_and_not_called_a_failure_of_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r")
        with pytest.raises(BatchRefused, match="UNIQUE") as caught:
            await store.append([batch("new", "n", start(1)), batch("x", "r", start(1))])
        assert caught.value.workflow_ids == ("x",)
        await store.append([batch("new", "n", start(1)), batch("x", "y", start(1))])
        assert (await seqs(store, "new"), await seqs(store, "x")) == ([1], [1])


async def test_of_many_runs_in_an_append_those_are_named_that_the_log_refuses(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r")
        fit = [batch(f"new{number}", f"n{number}", start(1)) for number in range(100)]
        unfit = [batch("x", "r", start(1)), batch("y", "r", start(1)), batch("y", "r", line(2))]
        with pytest.raises(BatchRefused, match="UNIQUE") as caught:
            await store.append([*fit[:50], *unfit, *fit[50:]])
        assert caught.value.workflow_ids == ("x", "y")
        assert await store.newest_run("new7") is None
        await store.append(fit)
        assert await seqs(store, "new99") == [1]


async def test_keys_of_an_append_that_failed_are_forgotten_though_its_rollback_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r", ends=False)

        def fail(connection: sqlite3.Connection) -> None:
            connection.rollback()
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as broken:
            broken.setattr("weftline_executor.store.sqlite._roll_back", fail)
            with pytest.raises(StoreUnavailable, match="disk I/O error"):
                await store.append([batch("new", "n", start(1)), batch("w", "r", line(9))])
        await store.append([batch("other", "o", start(1)), batch("new", "n", start(1)), batch("w", "r", line(4))])
        assert [await seqs(store, name) for name in ("other", "new", "w")] == [[1], [1], [1, 2, 3, 4]]


async def test_appends_go_on_while_many_runs_are_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(10 * RUNS_AT_ONCE):
            await put_run(store, "w", f"r{number}")
        await store.append([batch("live", "l", start(1))])
        retention = asyncio.create_task(store.retain(Retention(1 << 50, 1, 1 << 60), now=10))
        left = []
        for seq in range(2, 6):
            await store.append([batch("live", "l", line(seq))])
            left.append(len(await store.runs("w", None, 1000)))
        assert len(await retention) == 10 * RUNS_AT_ONCE - 1
        assert left[0] > 1
        assert await seqs(store, "live") == [1, 2, 3, 4, 5]


async def test_a_run_is_deleted_without_looking_at_the_other_runs_of_its_workflow(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        parameters = {"run": 1, "workflow": 1, "first": 1, "last": 4, "body": 1}
        for statement in queries.DELETE_RUN:
            plan = store._writing()[0].execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            assert all("SCAN" not in step[3] for step in plan), (statement, plan)
            chunk = [step[3] for step in plan if "chunk" in step[3]]
            assert all("last_seq" in step for step in chunk)


async def test_a_closed_log_says_that_it_cannot_be_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r")
        store._close_writer()
        with pytest.raises(StoreUnavailable):
            await store.append([batch("w", "r2", start(5))])


async def test_a_write_that_the_disk_refuses_leaves_nothing_and_can_be_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put_run(store, "w", "r", ends=False)
        connection = store._writing()[0]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable, match="full"):
            await store.append([batch("w", "r", line(4)), batch("new", "n", start(1), line(2, "x" * 100_000))])
        assert (await seqs(store, "w"), await seqs(store, "new")) == ([1, 2, 3], [])
        connection.execute("PRAGMA max_page_count = 1073741823")
        stored = await store.append([batch("w", "r", line(4)), batch("new", "n", start(1), line(2, "x" * 100_000))])
        assert [each.commit for each in stored] == [3, 4]


async def test_what_is_read_at_once_is_bounded_in_bytes_but_never_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([batch("w", "r", start(1))])
        for seq in range(2, 6):
            await store.append([batch("w", "r", line(seq, "x" * (PAGE_BYTES // 2)))])
        assert await seqs(store, "w") == [1, 2]
        assert await seqs(store, "w", 1) == [2]
        await store.append([batch("w", "r", line(6, "x" * (2 * PAGE_BYTES)))])
        assert await seqs(store, "w", 5) == [6]


async def test_the_oldest_ended_runs_go_when_the_log_is_too_large(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(40):
            await put_run(store, f"w{number}", f"r{number}", at=number, size=100_000)
        await put_run(store, "active", "a", at=0, size=100_000, ends=False)
        deleted = len(await store.retain(Retention(1 << 50, 1 << 30, 2_500_000), now=100))
        assert 0 < deleted < 40
        left = await store.workflows(frozenset({RunState.SUCCESS}), "", None, 100, False)
        assert [run.run_id for run in left] == [f"r{number}" for number in range(39, deleted - 1, -1)]
        assert await seqs(store, "active") == [1, 2, 3]
        assert len(await store.retain(Retention(1 << 50, 1 << 30, 2_500_000), now=100)) == 0


async def test_reads_go_on_while_writes_do(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.append([batch("w", "r", start(1))])
        reads: list[int] = []

        async def read() -> None:
            while not reads or reads[-1] < 300:
                found = await seqs(store, "w", 0, limit=1000)
                assert found == list(range(1, len(found) + 1))
                reads.append(len(found))

        reader = asyncio.create_task(read())
        for seq in range(2, 301):
            await store.append([batch("w", "r", line(seq))])
        await asyncio.wait_for(reader, 30)
        assert reads == sorted(reads)


WRITES_FOREVER = """
import asyncio, sys
from pathlib import Path
from tests.unit.executor.store.batches import batch, line, start
from weftline_executor.store import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    seq = (await store.head("w")).seq
    if not seq:
        await store.append([batch("w", "r", start(1))])
        seq = 1
    while True:
        await store.append([batch("w", "r", line(seq + 1), line(seq + 2)), batch("w", "r", line(seq + 3))])
        seq += 3
        print(seq, flush=True)

asyncio.run(main())
"""


def write_until_killed(directory: Path) -> int:
    """Lets another process append in batches that end at every third seq, kills it, and gives the last that it told."""
    command = [sys.executable, "-c", WRITES_FOREVER, str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(20)]
        writer.kill()
        told += [int(text) for text in writer.stdout.read().split()]
    return told[-1]


async def test_what_was_committed_is_there_after_a_kill_and_nothing_by_halves(tmp_path: Path) -> None:
    for _ in range(3):
        told = write_until_killed(tmp_path)
        async with opened(tmp_path) as store:
            head = (await store.head("w")).seq
            assert head >= told
            assert head % 3 == 1
            found: list[int] = []
            while page := await seqs(store, "w", found[-1] if found else 0):
                found += page
            assert found == list(range(1, head + 1))
    async with opened(tmp_path) as store:
        await store.append([batch("w", "r", end(head + 1))])
