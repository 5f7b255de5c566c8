"""A bridge that is told to end lets its clients go one after another, and ends whatever they do."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise

from tests.integration.bridge.test_process import serving
from tests.support import events
from tests.support.bridge import PATIENCE, eventually, running_bridge
from tests.support.raw_client import CLOSE, RawClient, frame
from tests.support.scripted_executor import running_executor

SUBSCRIBE = '{"id":"s","type":"workflow.subscribe","workflowId":"wf"}'
DRAIN_SECONDS = 4.0


async def closing_time(client: RawClient) -> float:
    """Read until the bridge closes; when that was, by the loop's clock."""
    assert (await client.read_to_end())[1] == 1012
    return asyncio.get_running_loop().time()


async def test_hundreds_of_clients_are_closed_spread_over_the_drain_and_those_that_never_read_hold_up_nothing() -> None:
    async with running_executor() as executor, serving(executor, DRAIN_SECONDS=str(DRAIN_SECONDS)) as process:
        host, _, port = process.url.rpartition(":")
        address = (host, int(port))
        clients = [await RawClient.connect(address, buffer=None) for _ in range(400)]
        deaf = [await RawClient.connect(address) for _ in range(100)]
        for client in (*clients, *deaf):
            await client.send_text(SUBSCRIBE)
        for client in clients:
            await client.read_until(lambda client=client: b"workflow.subscribed" in client.received)  # type: ignore[misc]
        executor.append("wf", events.start("a"), *(events.log("x" * 3000) for _ in range(20)))
        loop = asyncio.get_running_loop()
        began = loop.time()
        process.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            times = sorted(await asyncio.gather(*(closing_time(client) for client in clients)))
            status = await process.ended()
        took = loop.time() - began
        assert status == 0
        assert took < DRAIN_SECONDS + 5
        assert times[-1] - times[0] > DRAIN_SECONDS * 0.3
        assert max(later - earlier for earlier, later in pairwise(times)) < DRAIN_SECONDS / 4, (
            "no long pause, no stampede"
        )
        advised = [
            message["payload"]["reconnectAfterMs"]
            for client in clients
            for message in client.messages()
            if message["type"] == "connection.draining"
        ]
        assert len(advised) == len(clients)
        assert max(advised) - min(advised) > 3000
        for client in (*clients, *deaf):
            client.close()


async def test_it_is_unready_and_takes_no_more_while_clients_are_still_connected() -> None:
    async with running_executor() as executor, running_bridge(executor, drain_seconds=10) as bridge:
        clients = [await bridge.connect() for _ in range(20)]
        closing = [asyncio.create_task(client.close_code()) for client in clients]
        draining = asyncio.create_task(bridge.bridge.registry.drain(10))
        await eventually(lambda: len(bridge.bridge.registry) < len(clients))
        assert len(bridge.bridge.registry) > 0
        async with bridge.http.get(bridge.url + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "draining\n")
        async with bridge.http.get(bridge.url + "/", headers={"Upgrade": "websocket"}) as answer:
            assert answer.status == 503
        assert set(await asyncio.gather(*closing)) == {1012}
        await draining


async def test_a_drain_is_over_as_soon_as_the_last_client_is_gone() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client, other = await bridge.connect(), await bridge.connect()
        draining = asyncio.create_task(bridge.bridge.registry.drain(3600))
        await client.of_type("connection.draining")
        await client.ws.close()
        await other.ws.close()
        await eventually(draining.done)


async def test_a_close_waits_for_the_clients_answer_so_that_what_it_still_sends_does_not_hide_the_code() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await RawClient.connect(bridge.bridge.address)
        (session,) = bridge.bridge.registry
        session.close(1012, "restarting")
        await client.read_until(client.close_code)
        for _ in range(20):
            await client.send_text(SUBSCRIBE)
        assert len(bridge.bridge.registry) == 1
        await client.send(frame((1012).to_bytes(2, "big"), CLOSE))
        assert (await client.read_to_end())[1] == 1012
        await eventually(lambda: len(bridge.bridge.registry) == 0)
        client.close()
