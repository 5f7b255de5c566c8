"""A bridge dies, and all its clients come back at once: each resumes by its cursor, at a price that has a bound."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.chaos_person import asked, logged
from tests.support.stack import Stack, running_stack
from tests.support.storm import Storm, room_for_files
from weftline.v1 import events_pb2
from weftline.v1 import workflow_service_pb2 as pb

CLIENTS = int(os.environ.get("WEFTLINE_CHAOS_CLIENTS", "300"))
"""How many clients come back at once; with `make chaos` five thousand."""

WORKFLOWS = ("one", "two", "three", "four", "five")
MISSED = 3
PAUSE = max(0.1, CLIENTS / 5000)
NODES = 300
SECONDS = 60 + CLIENTS / 50


async def begin(stack: Stack, workflow_id: str) -> str:
    """Start a run that goes on for long, an event every now and then; the epoch of its log."""
    nodes = [{"id": f"n{place}", "type": "delay", "data": {"seconds": PAUSE}} for place in range(NODES)]
    edges = [{"source": f"n{place}", "target": f"n{place + 1}"} for place in range(NODES - 1)]
    definition = json.dumps({"nodes": nodes, "edges": edges, "config": {}})
    request = pb.StartWorkflowRequest(workflow_id=workflow_id, definition_json=definition, command_id=workflow_id)
    return (await asked(stack, lambda stub: stub.StartWorkflow(request))).result.epoch


async def settle(stack: Stack, workflow_id: str) -> None:
    """Pause the run, and return when nothing of it goes on any more."""
    request = pb.PauseWorkflowRequest(workflow_id=workflow_id, command_id=f"pause-{workflow_id}")
    await asked(stack, lambda stub: stub.PauseWorkflow(request))
    async with asyncio.timeout(60):
        while (await look_at(stack, workflow_id)).state != events_pb2.RUN_STATE_PAUSED:
            await asyncio.sleep(0.05)


async def look_at(stack: Stack, workflow_id: str) -> pb.WorkflowSnapshot:
    """How a workflow stands."""
    request = pb.GetWorkflowRequest(workflow_id=workflow_id)
    return (await asked(stack, lambda stub: stub.GetWorkflow(request))).snapshot


async def heads(stack: Stack) -> dict[str, int]:
    """How far each workflow is in the log."""
    return {workflow_id: (await look_at(stack, workflow_id)).seq for workflow_id in WORKFLOWS}


async def beyond(stack: Stack, before: dict[str, int]) -> dict[str, int]:
    """How far each workflow is, once all are some events further than before."""
    async with asyncio.timeout(60):
        while True:
            found = await heads(stack)
            if all(found[name] >= before[name] + MISSED for name in WORKFLOWS):
                return found
            await asyncio.sleep(0.05)


async def listening(stack: Stack) -> None:
    """Return when the bridge takes connections; it may not have reached the executor yet."""
    async with asyncio.timeout(30):
        while True:
            stack.bridge.check_alive()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", stack.bridge_port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@asynccontextmanager
async def storming(stack: Stack) -> AsyncIterator[Storm]:
    """Clients of the bridge, gone at the end."""
    storm = Storm(("127.0.0.1", stack.bridge_port))
    try:
        yield storm
    finally:
        await storm.close()


async def reads(stack: Stack) -> dict[str, float]:
    """What the bridge has read from the executor besides its streams, since it was started."""
    async with aiohttp.ClientSession() as session, session.get(stack.bridge_metrics) as response:
        lines = (await response.text()).splitlines()
    found = [line for line in lines if line.startswith("weftline_bridge_upstream_reads_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in found}


def peak_mib(pid: int) -> float:
    """The most memory that a process ever took."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.timeout(120 + CLIENTS // 5)
@pytest.mark.parametrize("share", [1.0, 0.08], ids=["all_at_once", "in_turns"])
async def test_all_clients_of_a_bridge_that_died_resume_at_once_or_when_they_are_told(
    tmp_path: Path, share: float
) -> None:
    room_for_files(CLIENTS)
    async with running_stack(tmp_path) as stack:
        epochs = {name: await begin(stack, name) for name in WORKFLOWS}
        async with storming(stack) as storm:
            for number in range(CLIENTS):
                name = WORKFLOWS[number % len(WORKFLOWS)]
                storm.add(name, epochs[name], 0)
            storm.all_connect()
            await storm.in_sync(await heads(stack), SECONDS)
            first = storm.truth.told.copy()
            storm.waits = True
            await stack.bridge.kill()
            missed = await beyond(stack, await heads(stack))
            # Of the rate five seconds' worth may come at once: all of them, or two fifths.
            stack.bridge.change(WEFTLINE_BRIDGE_ACCEPT_RATE=str(CLIENTS * share))
            await stack.bridge.start()
            await listening(stack)
            began = time.monotonic()
            storm.all_connect()
            await storm.in_sync(missed, SECONDS)
            seconds = time.monotonic() - began
            cost, peak = await reads(stack), peak_mib(stack.bridge.pid)
            for name in WORKFLOWS:
                await settle(stack, name)
            await storm.in_sync(await heads(stack), SECONDS)
            for name, epoch in epochs.items():
                log = {(name, event.seq): event.id for event in await logged(stack, name, epoch)}
                assert {key: id_ for key, id_ in storm.truth.ids.items() if key[0] == name} == log
            told = storm.truth.told - first
            print(f"{CLIENTS} clients in sync after {seconds:.2f} s: {dict(told)}, {cost}, {peak:.0f} MiB at most")
            assert storm.truth.wrong == []
            assert storm.truth.told["resumed"] == 2 * CLIENTS
            assert storm.truth.told["workflow.snapshot"] == 0
            assert (told["close 1013"] > 0) == (share < 0.2)
            assert cost.get("state", 0) <= len(WORKFLOWS)
            assert cost["history"] <= 4 * len(WORKFLOWS)
