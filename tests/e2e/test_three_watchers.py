"""A run of 1,738 nodes is watched by a terminal, a plain and a `weftline.v1` client: all see the same."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.clients import PlainClient, ResumingClient, is_terminal
from tests.support.stack import Stack, running_stack
from weftline.v1 import workflow_service_pb2 as pb

PROJECTIONS = 246
OVERLAPS = 1242
WORKFLOW_ID = "mosaic"


def mosaic_instance() -> dict[str, Any]:
    """An instance in WfFormat with the shape of an astronomer's mosaic: 1,738 tasks, 1,242 of them side by side."""
    projects = [f"project_{at}" for at in range(PROJECTIONS)]
    parents: dict[str, list[str]] = {name: [] for name in projects}
    for at in range(OVERLAPS):
        parents[f"difference_{at}"] = [projects[at % PROJECTIONS], projects[(at * 7 + 1) % PROJECTIONS]]
    parents["concatenate"] = [f"difference_{at}" for at in range(OVERLAPS)]
    parents["model"] = ["concatenate"]
    for at in range(PROJECTIONS):
        parents[f"background_{at}"] = ["model", projects[at]]
    parents["table"] = [f"background_{at}" for at in range(PROJECTIONS)]
    parents["add"] = ["table"]
    children: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in parents.items():
        for parent in above:
            children[parent].append(name)
    tasks = [
        {"id": name, "name": name, "parents": sorted(set(above)), "children": children[name]}
        for name, above in parents.items()
    ]
    runs = [{"id": name, "runtimeInSeconds": 1.0 + at % 3} for at, name in enumerate(parents)]
    execution = {"makespanInSeconds": 60, "executedAt": "2026-01-01T00:00:00Z", "tasks": runs}
    return {
        "name": "mosaic",
        "schemaVersion": "1.5",
        "workflow": {"specification": {"tasks": tasks}, "execution": execution},
    }


async def weftline(*arguments: str, stack: Stack) -> bytes:
    """Runs the command line to its end and gives its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "weftline_cli", "--executor", stack.executor_address, *arguments, stdout=PIPE
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    assert process.returncode == 0, out[-2000:]
    return out


def durable(messages: list[dict[str, Any]]) -> list[tuple[int, str, str]]:
    """What makes each durable message what it is."""
    return [(message["seq"], message["id"], message["type"]) for message in messages if message.get("seq")]


async def test_a_terminal_a_plain_and_a_v1_client_see_the_same_events_in_the_same_order(tmp_path: Path) -> None:
    instance, workflow = tmp_path / "instance.json", tmp_path / f"{WORKFLOW_ID}.json"
    instance.write_text(json.dumps(mosaic_instance()))
    async with running_stack(tmp_path) as stack, aiohttp.ClientSession() as session:
        convert = ("convert", "--from", "wfformat", str(instance), "--time-scale", "0.01", "--out", str(workflow))
        await weftline(*convert, stack=stack)
        async with session.ws_connect(stack.http, max_msg_size=0) as socket:
            plain = PlainClient(socket)
            await plain.until(lambda message: message["type"] == "system.status")
            v1 = ResumingClient(stack.http, WORKFLOW_ID, *await no_cursor_yet(stack))
            following = asyncio.create_task(v1.follow(is_terminal), name="v1 client")
            terminal = asyncio.create_task(weftline("run", "--json", str(workflow), stack=stack), name="terminal")
            last = await plain.until(is_terminal, seconds=90)
            followed, printed = await following, await terminal
    assert last["payload"]["completedNodes"] == PROJECTIONS * 2 + OVERLAPS + 4 == 1738
    seen = durable(plain.seen)
    assert [seq for seq, _, _ in seen] == list(range(1, len(seen) + 1))
    assert durable(followed.durable) == seen
    assert durable([json.loads(line) for line in printed.splitlines()]) == seen


async def no_cursor_yet(stack: Stack) -> tuple[str, int]:
    """The log's epoch, with the place before the first event of a workflow that has not run."""
    async with stack.stub() as stub:
        watch = stub.WatchEvents(pb.WatchEventsRequest(workflow_id=WORKFLOW_ID, until_head=True))
        async for answer in watch:
            return answer.created.epoch, 0
    raise AssertionError("a watch begins with what it is bound to")
