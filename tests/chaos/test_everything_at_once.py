"""Services die while the networks on both sides of the bridge are hostile and clients a nuisance: nobody is misled."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.support.chaos_course import Course, keep_running, kill_again_and_again
from tests.support.hostile_proxy import hostile_proxy
from tests.support.nuisances import meanwhile, nuisances_at
from tests.support.stack import Stack, free_ports, running

KILLS = int(os.environ.get("WEFTLINE_CHAOS_KILLS", "8"))
CUTS = int(os.environ.get("WEFTLINE_CHAOS_CUTS", "400"))
"""How often services are killed, and connections of clients cut; `make chaos` does so thousands of times."""

SEED = int(os.environ.get("WEFTLINE_CHAOS_SEED", "20261122"))
LANES = 3
FOLLOWERS = 3
CLIENT_LIFE = 0.5
UPSTREAM_LIFE = 6.0


@pytest.mark.timeout(180 + 10 * KILLS + CUTS // 5)
async def test_kills_and_cuts_together_lose_repeat_or_reorder_nothing_and_every_run_ends(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    nodes, away = "tests.support.test_nodes", f"127.0.0.1:{port}"
    stack = Stack(tmp_path, WEFTLINE_EXECUTOR_NODES=nodes, WEFTLINE_BRIDGE_EXECUTOR=away)
    bridge = "127.0.0.1", stack.bridge_port
    began = time.monotonic()
    async with (
        hostile_proxy(stack.executor_at, seed=SEED + 1, life=UPSTREAM_LIFE, port=port) as upstream,
        hostile_proxy(bridge, seed=SEED + 2, life=CLIENT_LIFE) as network,
        running(stack),
    ):
        course = Course(stack, "http://{}:{}".format(*network.address), SEED, FOLLOWERS)
        names = [f"lane-{lane}-0" for lane in range(LANES)]
        lanes = [asyncio.create_task(keep_running(course, lane), name=f"lane-{lane}") for lane in range(LANES)]
        async with meanwhile(*nuisances_at(bridge, names)):
            await kill_again_and_again(course, KILLS, lanes)
            cut = asyncio.create_task(network.cut_often(CUTS))
            done, _ = await asyncio.wait({cut, *lanes}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        course.enough.set()
        await upstream.calm()
        await network.calm()
        await asyncio.gather(*lanes)
        stack.bridge.check_alive()
        stack.executor.check_alive()
    seconds = time.monotonic() - began
    print(f"{KILLS} kills, cuts {dict(network.cuts)}, upstream {dict(upstream.cuts)}, {seconds:.0f} s: {course.totals}")
    assert course.totals.runs >= LANES
    assert course.totals.reconnections > LANES * FOLLOWERS
    assert upstream.cuts
    for service in (stack.bridge, stack.executor):
        assert "Traceback" not in service.whole_log()
