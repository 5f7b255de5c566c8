"""What one client may take: connections, new ones in a second, and commands."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import Any

from tests.support.bridge import PATIENCE, running_bridge
from tests.support.scripted_executor import running_executor

PROXIED: dict[str, Any] = {"trusted_proxies": "127.0.0.1", "max_connections_per_address": 2}


def via(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


async def test_one_address_gets_only_its_share_and_leaves_others_theirs() -> None:
    async with running_executor() as executor, running_bridge(executor, **PROXIED) as bridge:
        first = [await bridge.connect(headers=via("203.0.113.9")) for _ in range(2)]
        for client in first:
            await client.of_type("system.status")
        assert await (await bridge.connect(headers=via("203.0.113.9"))).close_code() == 1013
        assert await (await bridge.connect(headers=via("6.6.6.6, 203.0.113.9"))).close_code() == 1013
        other = await bridge.connect(headers=via("203.0.113.10"))
        await other.of_type("system.status")
        assert {session.address for session in bridge.bridge.registry} == {"203.0.113.9", "203.0.113.10"}
        await first[0].ws.close()
        await bridge.eventually(lambda: len(bridge.bridge.registry) == 2)
        again = await bridge.connect(headers=via("203.0.113.9"))
        assert (await again.next())["type"] == "connection.ready"


async def test_who_is_no_trusted_proxy_can_not_pretend_another_address() -> None:
    async with running_executor() as executor, running_bridge(executor, max_connections_per_address=2) as bridge:
        client = await bridge.connect(headers=via("203.0.113.9"))
        await client.next()
        assert [session.address for session in bridge.bridge.registry] == ["127.0.0.1"]


async def test_programs_of_this_machine_are_not_counted_by_their_address() -> None:
    async with running_executor() as executor, running_bridge(executor, max_connections_per_address=1) as bridge:
        for _ in range(3):
            assert (await (await bridge.connect()).next())["type"] == "connection.ready"


async def test_too_many_who_connect_at_once_are_told_when_to_come_back_each_at_another_time() -> None:
    async with running_executor() as executor, running_bridge(executor, accept_rate=0.2) as bridge:
        first = await bridge.connect()
        assert (await first.next())["type"] == "connection.ready"
        told = []
        for _ in range(3):
            client = await bridge.connect()
            told.append((await client.of_type("connection.draining"))["payload"]["reconnectAfterMs"])
            received = await client.ws.receive()
            assert client.ws.close_code == 1013
            assert "try again in" in str(received.extra)
        # One every five seconds, as the rate is.
        assert [4500 < later - earlier < 5500 for earlier, later in itertools.pairwise(told)] == [True, True]
        assert await bridge.metric("weftline_bridge_connections_refused_total", reason="overloaded") == 3


async def test_who_is_one_too_many_is_told_to_come_back_at_some_time() -> None:
    async with running_executor() as executor, running_bridge(executor, max_connections=1) as bridge:
        await (await bridge.connect()).of_type("system.status")
        told = []
        for _ in range(8):
            client = await bridge.connect()
            told.append((await client.of_type("connection.draining"))["payload"]["reconnectAfterMs"])
            assert await client.close_code() == 1013
        assert all(500 <= each <= 20_000 for each in told)
        assert len(set(told)) > 1
        plain = await bridge.connect("plain")
        assert await plain.close_code() == 1013
        assert plain.seen == []


async def test_commands_over_the_rate_are_refused_and_the_connection_stays() -> None:
    settings = {"command_rate": 5.0, "command_burst": 3}
    async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
        client = await bridge.connect()
        for _ in range(5):
            await client.send("workflow.unsubscribe", "wf")
        answers = [await client.of_type("command.accepted", "command.rejected") for _ in range(5)]
        assert Counter(answer["type"] for answer in answers) == {"command.accepted": 3, "command.rejected": 2}
        refused = next(answer for answer in answers if answer["type"] == "command.rejected")
        assert refused["payload"]["code"] == "rate_limited"
        async with asyncio.timeout(PATIENCE):
            while (await client.subscribe("wf"))["type"] != "workflow.subscribed":
                # As a client that does what it is told: one that asked again at once would be closed.
                await asyncio.sleep(0.25)


async def test_a_client_that_goes_on_with_refused_commands_is_closed_with_4429() -> None:
    settings = {"command_rate": 1.0, "command_burst": 10}
    async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
        client, other = await bridge.connect(), await bridge.connect()
        for _ in range(30):
            await client.send("workflow.unsubscribe", "wf")
        assert await client.close_code() == 4429
        assert (await other.subscribe("wf"))["type"] == "workflow.subscribed"


async def test_heartbeats_are_not_counted_as_commands() -> None:
    settings = {"command_rate": 1.0, "command_burst": 1}
    async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
        client = await bridge.connect()
        for _ in range(50):
            await client.send("heartbeat", payload={"serverTime": 1})
        assert (await client.subscribe("wf"))["type"] == "workflow.subscribed"
