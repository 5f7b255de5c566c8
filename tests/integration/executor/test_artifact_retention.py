"""Artifacts go with their runs, also where a crash came in between, and a crash in between loses none."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, Event, is_node, is_terminal
from tests.support.executor_engine import RunningExecutor, running_executor
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import chain, node
from tests.support.executor_process import executor_process, log_locked
from weftline.v1 import workflow_service_pb2 as pb
from weftline_executor.errors import ArtifactsUnavailable

WAIT_SECONDS = 20.0


def stored(data: Path) -> set[str]:
    """The runs that have artifacts in a data directory."""
    return {path.parent.name for path in data.glob("artifacts/*/runs/*/*")}


async def until_stored(data: Path, runs: set[str]) -> None:
    """Waits until these runs have artifacts, and no others."""
    async with asyncio.timeout(WAIT_SECONDS):
        while stored(data) != runs:
            await asyncio.sleep(0.01)


def big(**data: object) -> str:
    """A workflow with an output that is too large for an event."""
    return chain(node("big", "test.rows", count=5000, **data))


async def run_id(client: Client) -> str:
    """Runs the workflow to its end and gives the run's id."""
    return (await client.run(big()))[0].run_id


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention comes round all the time."""
    monkeypatch.setattr("weftline_executor.engine.retention.INTERVAL_SECONDS", 0.02)


@pytest.mark.usefixtures("often")
async def test_the_artifacts_of_a_run_are_deleted_with_it(tmp_path: Path) -> None:
    async with running_executor(tmp_path, retention_runs=1) as executor:
        await run_id(executor.client)
        second = await run_id(executor.client)
        await until_stored(tmp_path, {second})


@pytest.mark.usefixtures("often")
async def test_what_could_not_be_deleted_is_deleted_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_executor(tmp_path, retention_runs=1) as executor:
        refused = _refuse_once(executor, monkeypatch)
        await run_id(executor.client)
        second = await run_id(executor.client)
        await asyncio.wait_for(refused.wait(), WAIT_SECONDS)
        await until_stored(tmp_path, {second})


def _refuse_once(executor: RunningExecutor, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    delete, refused = executor.files.delete_folder, asyncio.Event()

    async def refuse(name: str) -> None:
        if not refused.is_set():
            refused.set()
            raise ArtifactsUnavailable("not now")
        await delete(name)

    monkeypatch.setattr(executor.files, "delete_folder", refuse)
    return refused


async def test_what_a_crash_left_over_is_deleted_at_the_next_start_and_nothing_else(tmp_path: Path) -> None:
    async with running_executor(tmp_path) as executor:
        kept = await run_id(executor.client)
        await executor.engine.artifacts.put("0199a000-0000-7000-8000-000000000000", b"left over")
    async with running_executor(tmp_path) as executor:
        await until_stored(tmp_path, {kept})
        uri = (await executor.client.snapshot()).nodes[0].artifact.uri
        assert len(json.loads(await executor.client.artifact(uri))["rows"]) == 5000


async def test_a_kill_between_storing_and_committing_loses_nothing(tmp_path: Path, gate: Gate, marks: Marks) -> None:
    with executor_process(tmp_path) as process:
        client = Client(process.address)
        async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
            await client.start(big(gate=str(gate), marks=str(marks)))
            begun = await watch.until(is_node("big", "running"))
            with log_locked(tmp_path / "data"):
                gate.open()
                await until_stored(tmp_path / "data", {begun.run_id})
                process.kill9()
        await client.channel.close()
        process.start()
        events = await _events_of(Client(process.address))
    check_run(events)
    assert ends(events) == {"big": "success"}
    assert marks.attempts() == ["big 1", "big 2"]


async def _events_of(client: Client) -> list[Event]:
    """The events of the workflow up to its end, and the large output whole."""
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (events := await client.history()) or not is_terminal(events[-1]):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        artifact = next(event.node.artifact for event in events if is_node("big", "success")(event))
        assert len(json.loads(await client.artifact(artifact.uri))["rows"]) == 5000
        return events
    finally:
        await client.channel.close()
