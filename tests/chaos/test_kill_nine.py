"""Either service may die at any instant, again and again: every run ends, and nobody misses or repeats an event."""

import asyncio
import itertools
import json
import random
from pathlib import Path

import grpc
import pytest

from tests.support.clients import Message, ResumingClient, is_terminal
from tests.support.stack import Stack, running_stack
from weftline.v1 import workflow_service_pb2 as pb

KILLS = 50
SEED = 20261122


def random_definition(random_: random.Random) -> str:
    """A layered graph of short delays with branches and joins, of about a second."""
    layers = [[f"n{layer}-{place}" for place in range(random_.randint(1, 5))] for layer in range(14)]
    nodes = [
        {"id": node, "type": "delay", "data": {"seconds": random_.choice([0, 0.02, 0.05, 0.1])}}
        for layer in layers
        for node in layer
    ]
    edges = [
        {"source": random_.choice(above), "target": node}
        for above, below in itertools.pairwise(layers)
        for node in below
    ]
    return json.dumps({"nodes": nodes, "edges": edges, "config": {"concurrency": random_.randint(2, 8)}})


async def start(stack: Stack, workflow_id: str, definition: str) -> pb.CommandResult:
    """Starts a run, as often as it takes; the command's id makes that one run."""
    request = pb.StartWorkflowRequest(
        workflow_id=workflow_id, definition_json=definition, command_id=f"start-{workflow_id}"
    )
    async with asyncio.timeout(60):
        while True:
            try:
                async with stack.stub() as stub:
                    return (await stub.StartWorkflow(request, timeout=10)).result
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.02)


async def logged(stack: Stack, workflow_id: str, epoch: str) -> list[tuple[int, str]]:
    """The (seq, id) of every event of a workflow in the log."""
    request = pb.WatchEventsRequest(
        workflow_id=workflow_id, start_from=pb.WATCH_FROM_CURSOR, cursor=pb.Cursor(epoch=epoch), until_head=True
    )
    async with asyncio.timeout(60):
        while True:
            try:
                async with stack.stub() as stub:
                    answers = stub.WatchEvents(request)
                    return [(event.seq, event.id) async for answer in answers for event in answer.events]
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.02)


class Seen:
    """Counts the durable messages that reached any client, so that a kill can come after a random number of them."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Condition()

    async def one_more(self) -> None:
        async with self._changed:
            self.count += 1
            self._changed.notify_all()

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.count >= count)


async def keep_running(stack: Stack, lane: int, random_: random.Random, seen: Seen, enough: asyncio.Event) -> int:
    """Runs workflows, one after another, until it is enough, each followed through the bridge; counts reconnections."""
    tasks: set[asyncio.Task[None]] = set()

    def met(message: Message) -> bool:
        task = asyncio.create_task(seen.one_more())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return is_terminal(message)

    runs = reconnections = 0
    while not enough.is_set():
        workflow_id = f"lane-{lane}-{runs}"
        begun = await start(stack, workflow_id, random_definition(random_))
        client = ResumingClient(stack.http, workflow_id, begun.epoch, begun.seq - 1)
        followed = await client.follow(met)
        assert [(message["seq"], message["id"]) for message in followed.durable] == await logged(
            stack, workflow_id, begun.epoch
        )
        assert followed.durable[-1]["type"] == "execution.complete"
        assert not followed.snapshots
        runs += 1
        reconnections += followed.connections - 1
    return reconnections


@pytest.mark.timeout(600)
async def test_fifty_kills_of_either_service_lose_repeat_or_reorder_no_event_and_every_run_ends(tmp_path: Path) -> None:
    random_ = random.Random(SEED)
    async with running_stack(tmp_path) as stack:
        seen, enough = Seen(), asyncio.Event()
        lanes = [
            asyncio.create_task(
                keep_running(stack, lane, random.Random(SEED + lane), seen, enough), name=f"lane-{lane}"
            )
            for lane in range(3)
        ]
        for _ in range(KILLS):
            waiting = asyncio.create_task(seen.reach(seen.count + random_.randint(1, 60)))
            done, _ = await asyncio.wait({waiting, *lanes}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
            victims = random_.choice([("executor",), ("bridge",), ("executor", "bridge")])
            for victim in victims:
                await getattr(stack, victim).kill()
            for victim in victims:
                await getattr(stack, victim).start()
        enough.set()
        assert sum(await asyncio.gather(*lanes)) >= KILLS / 2
