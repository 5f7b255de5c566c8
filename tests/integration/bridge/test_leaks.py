"""What a connection or a workflow has cost is given back when it is gone."""

from __future__ import annotations

import gc
import weakref

from aiohttp import web

from tests.support import events
from tests.support.bridge import Client, RunningBridge, eventually, running_bridge
from tests.support.scripted_executor import running_executor
from weftline_bridge.hub.feed import Feed
from weftline_bridge.session import Session


async def visit(bridge: RunningBridge, number: int) -> tuple[Client, Client]:
    """Two clients come, subscribe, send good and bad messages, and go."""
    client, plain = await bridge.connect(), await bridge.connect("plain")
    await client.subscribe(f"wf-{number}", logs="warn")
    await client.subscribe("*")
    await client.send("workflow.start", f"wf-{number}", {"nodes": [{"id": "a"}], "edges": []})
    await client.of_type("command.accepted")
    await client.ws.send_str("{oops")
    await client.of_type("command.rejected")
    await plain.of_type("workflow.start")
    return client, plain


async def test_connections_and_workflows_that_are_gone_leave_nothing_behind() -> None:
    async with running_executor() as executor, running_bridge(executor, linger_seconds=0.0) as bridge:
        kept: list[weakref.ref[object]] = []
        for number in range(10):
            clients = await visit(bridge, number)
            kept += [weakref.ref(session) for session in bridge.bridge.registry]
            executor.append(f"wf-{number}", events.complete())
            for client in clients:
                await client.seqs(f"wf-{number}", 2)
                await client.ws.close()
            await eventually(lambda: len(bridge.bridge.registry) == 0)
        await eventually(lambda: not bridge.bridge.hub.feeds)
        await eventually(lambda: len(executor.watches) == 1)
        gc.collect()
        assert [ref() for ref in kept if ref() is not None] == []
        assert not [each for each in gc.get_objects() if isinstance(each, Session)]
        assert not [each for each in gc.get_objects() if type(each) is Feed]
        hub = bridge.bridge.hub
        for kept_for_readers in (hub._subscriptions, hub._errands, hub._everyone):
            assert not kept_for_readers
        for kept_for_feeds in (hub._roster._pins, hub._roster._idle_since, hub._roster._singles):
            assert not kept_for_feeds
        assert await bridge.metric("weftline_bridge_connections", dialect="v1") == 0
        assert await bridge.metric("weftline_bridge_feeds") == 0
        assert await bridge.metric("weftline_bridge_slow_connections") == 0


async def test_an_open_connection_keeps_nothing_of_how_it_was_opened() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        clients = [await bridge.connect(), await bridge.connect("plain")]
        for client in clients:
            await client.of_type("system.status")
        gc.collect()
        kinds = (web.Request, web.RequestHandler, web.StreamResponse)
        assert [each for each in gc.get_objects() if issubclass(type(each), kinds)] == []
        assert len(bridge.bridge.registry) == 2


async def test_a_client_that_leaves_in_the_middle_of_joining_leaves_nothing_behind() -> None:
    async with running_executor() as executor, running_bridge(executor, linger_seconds=0.0) as bridge:
        plain = await bridge.connect("plain")
        await eventually(lambda: bridge.bridge.hub.watches_all)
        executor.append("wf", events.start("a"))
        await plain.of_type("workflow.start")
        executor.snapshot_gate.clear()
        leaving, late = await bridge.connect(), await bridge.connect("plain")
        await leaving.send("workflow.subscribe", "wf")
        await late.next()
        await eventually(lambda: executor.calls["GetWorkflow"] >= 1)
        await leaving.ws.close()
        await late.ws.close()
        await eventually(lambda: len(bridge.bridge.registry) == 1)
        feed = bridge.bridge.hub.feeds["wf"]
        await eventually(lambda: not feed.caster.exempt)
        assert not feed.caster.readers
        executor.snapshot_gate.set()
        executor.append("wf", events.running("a"))
        assert await plain.seqs("wf", 2) == [1, 2]
