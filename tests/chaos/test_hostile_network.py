"""Networks that cut, stall, drip and refuse on both sides of the bridge: every client ends with exactly the log."""

import asyncio
import os
import random

import pytest

from tests.support import events
from tests.support.bridge import eventually, running_bridge
from tests.support.clients import Message, ResumingClient
from tests.support.hostile_proxy import Fault, hostile_proxy
from tests.support.nuisances import meanwhile, nuisances_at
from tests.support.scripted_executor import ScriptedExecutor, running_executor

CUTS = int(os.environ.get("WEFTLINE_CHAOS_CUTS", "1500"))
"""How often connections of clients are cut; `make chaos` does so ten thousand times."""

SEED = int(os.environ.get("WEFTLINE_CHAOS_SEED", "20261122"))
CLIENTS = 12
WORKFLOWS = ("one", "two", "three")
CLIENT_LIFE = 0.25
UPSTREAM_LIFE = 4.0


async def keep_appending(executor: ScriptedExecutor, random_: random.Random) -> None:
    """Append events to all workflows, with telemetry between them."""
    while True:
        workflow_id = random_.choice(WORKFLOWS)
        executor.append(workflow_id, *(events.log("x" * random_.randint(1, 300)) for _ in range(random_.randint(1, 4))))
        executor.tell(workflow_id, events.tick("a", random_.random()))
        await asyncio.sleep(0.01)


def ended(message: Message) -> bool:
    """Whether this is the last event of a workflow."""
    return bool(message["type"] == "execution.complete")


@pytest.mark.timeout(120 + CUTS // 10)
async def test_cuts_on_both_sides_of_the_bridge_lose_repeat_or_reorder_nothing() -> None:
    random_ = random.Random(SEED)
    async with (
        running_executor() as executor,
        hostile_proxy(("127.0.0.1", executor.port), seed=SEED + 1, life=UPSTREAM_LIFE) as upstream,
        running_bridge("{}:{}".format(*upstream.address)) as bridge,
        hostile_proxy(bridge.bridge.address, seed=SEED + 2, life=CLIENT_LIFE) as network,
    ):
        for workflow_id in WORKFLOWS:
            executor.append(workflow_id, events.start("a"))
        url = "http://{}:{}".format(*network.address)
        names = [WORKFLOWS[number % len(WORKFLOWS)] for number in range(CLIENTS)]
        clients = [ResumingClient(url, name, executor.log.epoch, 0) for name in names]
        following = [asyncio.create_task(client.follow(ended, 60 + CUTS / 10)) for client in clients]
        nuisances = nuisances_at(bridge.bridge.address, WORKFLOWS)
        try:
            async with meanwhile(keep_appending(executor, random_), *nuisances):
                enough = asyncio.create_task(network.cut_often(CUTS))
                done, _ = await asyncio.wait({enough, *following}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    await task
            await upstream.calm()
            await network.calm()
            for workflow_id in WORKFLOWS:
                executor.append(workflow_id, events.complete())
            followed = await asyncio.gather(*following)
        finally:
            for task in (*following, enough):
                task.cancel()
            await asyncio.gather(*following, enough, return_exceptions=True)
        for name, found in zip(names, followed, strict=True):
            log = executor.log.workflows[name].events
            assert [(each["seq"], each["id"]) for each in found.durable] == [(each.seq, each.id) for each in log]
            assert not found.snapshots
        connections = sum(found.connections for found in followed)
        counted = sum(len(executor.log.workflows[name].events) for name in WORKFLOWS)
        print(f"{dict(network.cuts)} and upstream {dict(upstream.cuts)}: {connections} connections, {counted} events")
        assert set(network.cuts) == set(Fault)
        assert upstream.cuts
        assert connections > CLIENTS
        await eventually(lambda: len(bridge.bridge.registry) == 0)
