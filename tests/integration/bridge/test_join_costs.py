"""What joins cost the executor: nothing while the bridge knows enough, one call else, however many join at once."""

from __future__ import annotations

import asyncio

from tests.integration.bridge.test_joining import without_pulse
from tests.support import events
from tests.support.bridge import Client, RunningBridge, eventually, running_bridge
from tests.support.scripted_executor import ScriptedExecutor, running_executor

JOINS = 1000
TAIL = 600
"""More events than the bridge tells after a cached state."""


async def connected(bridge: RunningBridge) -> list[Client]:
    """Many clients that have not subscribed yet."""
    return [await bridge.connect() for _ in range(JOINS)]


async def far_behind_its_state(executor: ScriptedExecutor, bridge: RunningBridge) -> int:
    """Have the bridge follow a workflow until the state that it keeps is old; the head."""
    keeper = await bridge.connect()
    await keeper.subscribe("wf")
    executor.append("wf", events.start("a"), *(events.running("a") for _ in range(TAIL - 1)))
    await keeper.seqs("wf", TAIL)
    return TAIL


async def test_a_thousand_joins_at_once_cost_one_call_for_the_state() -> None:
    async with running_executor(heartbeat_ms=10_000) as executor, running_bridge(executor) as bridge:
        head = await far_behind_its_state(executor, bridge)
        clients = await connected(bridge)
        before = without_pulse(executor)
        answers = await asyncio.gather(*(client.subscribe("wf") for client in clients))
        assert {(each["payload"]["outcome"], each["payload"]["seq"]) for each in answers} == {("snapshot", head)}
        assert without_pulse(executor) == {**before, "GetWorkflow": 1}
        executor.append("wf", events.complete())
        assert [await client.seqs("wf", head + 1) for client in clients] == [[head + 1]] * JOINS


async def test_a_thousand_cursors_that_the_ring_covers_cost_no_call_at_all() -> None:
    async with running_executor(heartbeat_ms=10_000) as executor, running_bridge(executor) as bridge:
        head = await far_behind_its_state(executor, bridge)
        clients = await connected(bridge)
        before = without_pulse(executor)
        cursors = [{"epoch": executor.log.epoch, "seq": head - number % 50} for number in range(JOINS)]
        answers = await asyncio.gather(
            *(client.subscribe("wf", cursor=cursor) for client, cursor in zip(clients, cursors, strict=True))
        )
        assert {each["payload"]["outcome"] for each in answers} == {"resumed"}
        executor.append("wf", events.complete())
        for client, cursor in zip(clients, cursors, strict=True):
            assert await client.seqs("wf", head + 1) == list(range(int(str(cursor["seq"])) + 1, head + 2))
        assert without_pulse(executor) == before


async def test_a_thousand_cursors_that_a_bridge_just_started_does_not_cover_cost_a_few_reads_of_history() -> None:
    async with running_executor(heartbeat_ms=10_000) as executor:
        executor.append("wf", events.start("a"), *(events.running("a") for _ in range(TAIL - 1)))
        async with running_bridge(executor) as bridge:
            clients = await connected(bridge)
            cursors = [{"epoch": executor.log.epoch, "seq": TAIL - number % 50} for number in range(JOINS)]
            answers = await asyncio.gather(
                *(client.subscribe("wf", cursor=cursor) for client, cursor in zip(clients, cursors, strict=True))
            )
            assert {each["payload"]["outcome"] for each in answers} == {"resumed"}
            # One stream, and at worst a read for each cursor: the newest come first, and none reaches back to the next.
            assert without_pulse(executor)["watch:wf"] <= 1 + 50
            executor.append("wf", events.complete())
            for client, cursor in zip(clients, cursors, strict=True):
                assert await client.seqs("wf", TAIL + 1) == list(range(int(str(cursor["seq"])) + 1, TAIL + 2))
            late = await bridge.connect()
            before = without_pulse(executor)
            await late.subscribe("wf", cursor={"epoch": executor.log.epoch, "seq": TAIL - 49})
            assert await late.seqs("wf", TAIL + 1) == list(range(TAIL - 48, TAIL + 2))
            assert without_pulse(executor) == before


async def test_a_log_that_is_replaced_or_compacted_again_and_again_is_one_snapshot_each_time() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"))
        client = await bridge.connect()
        await client.subscribe("wf")
        await client.of_type("workflow.snapshot")
        for number in range(5):
            executor.cut()
            executor.wipe()
            executor.append("wf", events.start("a"), *(events.running("a") for _ in range(number)))
            await client.until(lambda message: message["payload"].get("epoch") == executor.log.epoch)
            executor.append("wf", events.success("a"))
            await client.until(lambda message, seq=number + 2: message.get("seq") == seq)  # type: ignore[misc]
        snapshots = [each["payload"]["epoch"] for each in client.seen if each["type"] == "workflow.snapshot"]
        assert len(snapshots) == len(set(snapshots)) == 6
        told = [each["payload"] for each in client.seen if each["type"] == "workflow.subscribed"]
        assert [each["outcome"] for each in told] == ["snapshot"] * 6
        await eventually(lambda: not bridge.bridge.hub.feeds["wf"].capturing)
        assert executor.calls["GetWorkflow"] == 0


async def test_who_asks_for_what_is_smallest_gets_the_state_only_where_it_has_fewer_bytes() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        head = await far_behind_its_state(executor, bridge)
        (joined,) = [await bridge.connect()]
        await joined.subscribe("wf")
        outcomes = []
        for seq in (0, head - 1):
            client = await bridge.connect()
            cursor = {"epoch": executor.log.epoch, "seq": seq}
            answer = (await client.subscribe("wf", cursor=cursor, catchUp="smallest"))["payload"]
            outcomes.append((answer["outcome"], answer.get("reason")))
            every = await bridge.connect()
            assert (await every.subscribe("wf", cursor=cursor))["payload"]["outcome"] == "resumed"
        assert outcomes == [("snapshot", "smaller"), ("resumed", None)]
