"""Pings, heartbeats and status: how either side learns that the other is there, and how far it is."""

from __future__ import annotations

import msgspec
import pytest

from tests.support import events
from tests.support.bridge import eventually, running_bridge
from tests.support.scripted_executor import running_executor

BRISK = {"heartbeat_interval": 0.1, "heartbeat_timeout": 0.08}


async def test_a_client_that_answers_no_ping_is_closed_with_4408() -> None:
    async with running_executor() as executor, running_bridge(executor, **BRISK) as bridge:
        client = await bridge.connect(autoping=False)
        assert await client.close_code() == 4408
        await eventually(lambda: len(bridge.bridge.registry) == 0)
        assert await bridge.metric("weftline_bridge_disconnects_total", code="4408") == 1


@pytest.mark.parametrize("dialect", ["weftline.v1", "plain"])
async def test_a_client_whose_library_answers_pings_lives_and_its_round_trip_is_measured(dialect: str) -> None:
    async with running_executor() as executor, running_bridge(executor, **BRISK) as bridge:
        client = await bridge.connect(dialect)
        for _ in range(4):
            await client.of_type("heartbeat")
        (session,) = bridge.bridge.registry
        assert session.rtt is not None
        assert 0 <= session.rtt < 10
        assert await bridge.metric("weftline_bridge_heartbeat_rtt_seconds_count") >= 2


async def test_any_frame_counts_as_a_sign_of_life() -> None:
    async with running_executor() as executor, running_bridge(executor, **BRISK) as bridge:
        client = await bridge.connect(autoping=False)
        for _ in range(5):
            beat = await client.of_type("heartbeat")
            await client.send("heartbeat", payload={"serverTime": beat["payload"]["serverTime"]})
        (session,) = bridge.bridge.registry
        assert not session.closing
        assert session.rtt is not None


async def test_a_heartbeat_tells_the_heads_of_this_clients_workflows_only() -> None:
    async with running_executor() as executor, running_bridge(executor, **BRISK) as bridge:
        client, star, plain = await bridge.connect(), await bridge.connect(), await bridge.connect("plain")
        await client.subscribe("one")
        await star.subscribe("*")
        executor.append("one", events.start("a"), events.running("a"))
        executor.append("two", events.start("b"))
        await client.seqs("one", 2)
        beat = await client.until(lambda message: message["payload"].get("heads") == {"one": 2})
        assert beat["payload"]["epoch"] == executor.log.epoch
        await star.until(lambda message: message["payload"].get("heads") == {"one": 2, "two": 1})
        await plain.until(lambda message: message["payload"].get("heads") == {"one": 2, "two": 1})


async def test_a_head_never_overtakes_the_events_up_to_it() -> None:
    brisk = {"heartbeat_interval": 0.02, "heartbeat_timeout": 60.0}
    async with running_executor() as executor, running_bridge(executor, **brisk) as bridge:
        client = await bridge.connect()
        await client.subscribe("wf", logs="error")
        executor.append("wf", events.start("a"))
        for _ in range(300):
            executor.append("wf", events.log("withheld"), events.running("a"), events.log("withheld"))
            await client.next()
        await client.until(lambda message: message["payload"].get("heads") == {"wf": 901})
        reached = 0
        for message in client.seen:
            if "seq" in message:
                reached = message["seq"]
            elif message["type"] == "stream.gap":
                reached = message["payload"]["to"]
            elif message["type"] == "heartbeat":
                assert message["payload"]["heads"].get("wf", 0) <= reached


async def test_the_status_comes_when_the_executor_goes_and_comes_back() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        clients = [await bridge.connect(), await bridge.connect("plain")]
        await executor.stop()
        for client in clients:
            await client.until(lambda message: message["payload"].get("executor") == "reconnecting")
        await executor.start()
        for client in clients:
            status = await client.until(lambda message: message["payload"].get("executor") == "connected")
            assert status["payload"]["connections"] == 2


async def test_the_status_comes_slowly_without_any_change_and_counts_active_workflows() -> None:
    async with running_executor(heartbeat_ms=30) as executor, running_bridge(executor, status_interval=0.05) as bridge:
        client = await bridge.connect()
        executor.append("one", events.start("a"))
        executor.append("two", events.start("a"), events.complete())
        await client.until(lambda message: message["payload"].get("activeWorkflows") == 1)


async def test_a_ping_of_the_client_is_answered() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect(autoping=False)
        await client.next()
        await client.ws.ping(b"are you there")
        while (received := await client.ws.receive(timeout=5)).type is not received.type.PONG:
            assert msgspec.json.decode(received.data)
        assert received.data == b"are you there"
