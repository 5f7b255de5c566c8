"""A damaged log: what is wrong is named with the way out, nothing is written over it, and what can go on does."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from tests.support.executor_client import Client, is_node, is_terminal, refused
from tests.support.executor_engine import running_executor
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, node, noops
from tests.support.executor_process import ExecutorDied, ExecutorProcess
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.store.opening import WAY_OUT
from weftline_executor.store.sqlite import FILE_NAME

PAGE = 4096


def not_a_database(log: Path) -> None:
    log.write_bytes(b"these are my notes " * 2000)


def truncated(log: Path) -> None:
    log.write_bytes(log.read_bytes()[: 2 * PAGE])


def damaged_schema(log: Path) -> None:
    body = bytearray(log.read_bytes())
    body[100:PAGE] = bytes(byte ^ 0xFF for byte in body[100:PAGE])
    log.write_bytes(body)


def another_database(log: Path) -> None:
    log.unlink()
    with closing(sqlite3.connect(log)) as connection:
        connection.executescript("CREATE TABLE notes (text TEXT); ")


def overwritten_pages(log: Path) -> None:
    body = bytearray(log.read_bytes())
    body[PAGE:] = b"\xa5" * (len(body) - PAGE)
    log.write_bytes(body)


async def make_log(folder: Path) -> Path:
    """A log with ended runs, closed as it should be."""
    async with running_executor(folder / "data") as executor:
        for number in range(5):
            await executor.client.run(chain(node("a", "test.big", size=10_000)), f"w{number}")
    log = folder / "data" / FILE_NAME
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return log


@pytest.mark.parametrize("damage", [not_a_database, truncated, damaged_schema, another_database, overwritten_pages])
async def test_a_damaged_log_ends_the_start_with_a_sentence_that_names_it_and_the_way_out(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    log = await make_log(tmp_path)
    damage(log)
    before = log.read_bytes()
    process = ExecutorProcess(tmp_path)
    try:
        with pytest.raises(ExecutorDied) as caught:
            process.start()
    finally:
        process.close()
    said = caught.value.log.splitlines()[-1]
    assert caught.value.status == 1
    assert said.startswith(f"weftline-executor: {log} is not a usable event log: ") or f"{log} fails: " in said
    assert WAY_OUT in said
    assert "Traceback" not in caught.value.log
    assert log.read_bytes() == before


async def test_a_run_whose_events_are_damaged_is_refused_by_name_and_the_others_go_on(
    tmp_path: Path, gate: Gate
) -> None:
    waiting = chain(node("a", "test.step", gate=str(gate)), node("b"))
    async with running_executor(tmp_path / "data") as executor:
        for name in ("bad", "good"):
            async with executor.client.watch(name) as watch:
                await executor.client.start(waiting, name)
                await watch.until(is_node("a", "running"))
    damaged = b'[{"type":"node.run'
    with closing(sqlite3.connect(tmp_path / "data" / FILE_NAME, isolation_level=None)) as log:
        (last,) = log.execute(
            "SELECT max(commit_no) FROM chunk JOIN workflow ON key = workflow_key WHERE id = 'bad'"
        ).fetchone()
        log.execute("UPDATE chunk SET body = ? WHERE commit_no = ?", (damaged, last))
    gate.open()
    async with running_executor(tmp_path / "data") as executor:
        client: Client = executor.client
        assert set(executor.engine.runs) <= {"good"}
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "run_stuck"):
            await client.start(noops(1), "bad")
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "run_stuck"):
            await client.stop("bad")
        with refused(grpc.StatusCode.DATA_LOSS, "store_corrupt") as refusal:
            await client.snapshot("bad")
        assert "'bad'" in refusal.message
        assert await client.run(noops(2), "new")
        async with client.watch("good", start_from=pb.WATCH_FROM_SNAPSHOT) as watch:
            if not (await client.snapshot("good")).HasField("ended_ms"):
                await watch.until(is_terminal)
    with closing(sqlite3.connect(tmp_path / "data" / FILE_NAME)) as log:
        assert log.execute("SELECT body FROM chunk WHERE commit_no = ?", (last,)).fetchone() == (damaged,)
        assert log.execute(
            "SELECT state FROM run JOIN workflow ON workflow.key = workflow_key WHERE workflow.id = 'good'"
        ).fetchone() == ("success",)
