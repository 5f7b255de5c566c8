"""What a client is promised: every durable event once and in order, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support import events
from tests.support.bridge import Client, RunningBridge, eventually, running_bridge
from tests.support.scripted_executor import ScriptedExecutor, running_executor
from weftline.v1 import events_pb2 as ev


async def test_a_subscriber_gets_every_event_of_a_run_once_and_in_order() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        assert (await client.subscribe("wf"))["payload"]["outcome"] == "gone"
        executor.append("wf", events.start("a", "b"))
        for node in "ab":
            executor.append("wf", events.running(node), events.success(node, '{"n": 1}'))
        executor.append("wf", events.complete())
        assert await client.seqs("wf", 6) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dialect", ["weftline.v1", "plain", "star"])
async def test_streams_that_are_cut_at_random_lose_and_repeat_nothing(seed: int, dialect: str) -> None:
    chance = random.Random(seed)
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, dialect, "wf")
        executor.append("wf", events.start("a"))
        for number in range(2, 301):
            executor.append("wf", events.log(f"line {number}"))
            if chance.random() < 0.05:
                executor.cut()
            if chance.random() < 0.3:
                await asyncio.sleep(0)
        assert await client.seqs("wf", 300) == list(range(1, 301))


async def test_events_that_come_while_the_executor_is_gone_are_delivered_when_it_is_back() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"))
        await client.seqs("wf", 1)
        await executor.stop()
        status = await client.until(lambda message: message["payload"].get("executor") == "reconnecting")
        assert status["type"] == "system.status"
        executor.append("wf", events.running("a"), events.success("a"))
        await executor.start()
        assert await client.seqs("wf", 3) == [1, 2, 3]


async def test_a_watch_that_falls_silent_is_cut_and_resumed() -> None:
    async with running_executor(heartbeat_ms=50) as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"))
        await client.seqs("wf", 1)
        watches = executor.calls["watch:wf"]
        executor.silent = True
        executor.append("wf", events.running("a"))
        await eventually(lambda: executor.calls["watch:wf"] > watches)
        executor.silent = False
        assert await client.seqs("wf", 2) == [1, 2]


@pytest.mark.parametrize("dialect", ["weftline.v1", "plain"])
async def test_a_hole_in_the_stream_is_filled_from_the_log(dialect: str) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, dialect, "wf")
        executor.append("wf", events.start("a"))
        await client.seqs("wf", 1)
        for number in range(2, 7):
            executor.log.append("wf", [events.log(f"unseen {number}")])
        executor.append("wf", events.success("a"))
        assert await client.seqs("wf", 7) == [1, 2, 3, 4, 5, 6, 7]


async def test_events_that_come_twice_are_delivered_once() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        first = executor.append("wf", events.start("a"), events.running("a"))
        executor.send_raw("wf", *first.events)
        executor.append("wf", events.success("a"))
        assert await client.seqs("wf", 3) == [1, 2, 3]


async def test_a_compacted_cursor_becomes_one_snapshot_with_its_reason() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"))
        await client.seqs("wf", 1)
        await executor.stop()
        executor.append("wf", *(events.log("lost") for _ in range(10)))
        executor.compact("wf")
        await executor.start()
        subscribed = await client.of_type("workflow.subscribed")
        assert (subscribed["payload"]["outcome"], subscribed["payload"]["reason"]) == ("snapshot", "compacted")
        assert (await client.of_type("workflow.snapshot"))["payload"]["seq"] == 11
        executor.append("wf", events.success("a"))
        assert await client.seqs("wf", 12) == [1, 12]


async def test_a_new_log_resets_a_subscriber_by_a_snapshot_of_the_new_epoch() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"), events.running("a"), events.success("a"))
        await client.seqs("wf", 3)
        await executor.stop()
        executor.wipe()
        executor.append("wf", events.start("b"))
        await executor.start()
        subscribed = (await client.of_type("workflow.subscribed"))["payload"]
        assert subscribed["reason"] == "wrong_epoch"
        assert subscribed["epoch"] == executor.log.epoch
        snapshot = (await client.of_type("workflow.snapshot"))["payload"]
        assert (snapshot["seq"], snapshot["nodes"][0]["nodeId"]) == (1, "b")
        executor.append("wf", events.running("b"))
        assert await client.seqs("wf", 2) == [1, 2, 3, 2]


async def test_a_new_log_without_the_workflow_says_gone_and_the_subscription_stands() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"))
        await client.seqs("wf", 1)
        await executor.stop()
        executor.wipe()
        await executor.start()
        subscribed = (await client.of_type("workflow.subscribed"))["payload"]
        assert (subscribed["outcome"], subscribed["seq"], subscribed["reason"]) == ("gone", 0, "wrong_epoch")
        executor.append("wf", events.start("b"))
        assert (await client.of_type("workflow.start"))["seq"] == 1


async def test_a_new_log_is_told_to_a_plain_client_in_ordinary_messages() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "plain", "wf")
        executor.append("wf", events.start("a"))
        await client.of_type("workflow.start")
        await executor.stop()
        executor.wipe()
        executor.append("wf", events.start("b"), events.running("b"))
        await executor.start()
        replay = await client.of_type("workflow.start")
        assert "seq" not in replay
        assert replay["payload"]["nodes"][0]["id"] == "b"
        assert (await client.of_type("node.running"))["payload"]["nodeId"] == "b"
        executor.append("wf", events.success("b"))
        assert (await client.of_type("node.success"))["seq"] == 3


async def test_an_event_that_can_not_be_translated_becomes_a_gap_and_the_stream_goes_on() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client, plain = await joined(bridge, "weftline.v1", "wf"), await bridge.connect("plain")
        executor.append("wf", events.start("a"))
        await client.seqs("wf", 1)
        executor.append("wf", ev.Log(message="of no level"))
        executor.append("wf", events.success("a"))
        gap = (await client.of_type("stream.gap"))["payload"]
        assert gap == {"from": 2, "to": 2, "dropped": {"log": 1}, "reason": "quarantined"}
        assert await client.seqs("wf", 3) == [1, 3]
        assert await plain.seqs("wf", 3) == [1, 3]
        assert "stream.gap" not in plain.types_seen()
        assert await bridge.metric("weftline_bridge_quarantined_events_total") >= 1


async def test_telemetry_that_says_nothing_new_is_not_sent_again() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"), events.running("a"))
        for progress in (0.25, 0.25, 0.5, 0.5):
            executor.tell("wf", events.tick("a", progress))
        executor.append("wf", events.success("a"))
        await client.seqs("wf", 3)
        told = [each["payload"]["progress"] for each in client.seen if "progress" in each["payload"]]
        assert told == [0.25, 0.5]


async def test_what_a_running_node_has_so_far_reaches_clients_each_time_it_changes() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"), events.running("a"))
        for text in ("so", "so", "so far"):
            executor.tell("wf", events.partial("a", text))
        executor.append("wf", events.success("a"))
        await client.seqs("wf", 3)
        told = [each["payload"] for each in client.seen if each["type"] == "node.running" and "seq" not in each]
        assert [payload["data"]["text"] for payload in told] == ["so", "so far"]


async def test_hand_over_between_one_stream_for_all_and_single_ones_loses_nothing() -> None:
    async with running_executor() as executor, running_bridge(executor, linger_seconds=0.0) as bridge:
        client = await joined(bridge, "weftline.v1", "wf")
        executor.append("wf", events.start("a"))
        last = 1
        for _ in range(4):
            plain = await bridge.connect("plain")
            last = await append_while(executor, last, lambda: bridge.bridge.hub.watches_all)
            await plain.ws.close()
            last = await append_while(executor, last, lambda: not bridge.bridge.hub.watches_all)
        assert await client.seqs("wf", last) == list(range(1, last + 1))


async def test_while_one_stream_for_all_stands_there_is_no_other() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        for name in ("one", "two"):
            await client.subscribe(name)
        await bridge.connect("plain")
        await eventually(lambda: watched(executor) == [""])
        await client.subscribe("three")
        for name in ("one", "two", "three"):
            executor.append(name, events.start("a"))
            assert await client.seqs(name, 1) == [1]
        assert watched(executor) == [""]


def watched(executor: ScriptedExecutor) -> list[str]:
    """The workflows of the open streams but that which only tells that the executor lives; empty stands for all."""
    names = sorted(watch.request.workflow_id for watch in executor.watches)
    return [name for name in names if not name.startswith("weftline:")]


async def append_while(executor: ScriptedExecutor, last: int, condition: object) -> int:
    """Append events until `condition` holds and a few more have come; the last seq."""
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():
            executor.append("wf", events.log("meanwhile"))
            last += 1
            await asyncio.sleep(0.002)
    executor.append("wf", *(events.log("after") for _ in range(5)))
    return last + 5


async def joined(bridge: RunningBridge, dialect: str, workflow_id: str) -> Client:
    """A client that gets the events of a workflow: by name, as a plain one, or as one of all."""
    if dialect == "plain":
        client = await bridge.connect("plain")
        await eventually(lambda: bridge.bridge.hub.watches_all)
        return client
    client = await bridge.connect()
    await client.subscribe("*" if dialect == "star" else workflow_id)
    return client
