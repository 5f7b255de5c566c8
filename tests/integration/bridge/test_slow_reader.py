"""A client that does not keep up: it alone is held back, conflated and in the end closed, and then resumes."""

from __future__ import annotations

import asyncio

import msgspec

from tests.support import events
from tests.support.bridge import eventually, running_bridge
from tests.support.raw_client import PING, RawClient, frame
from tests.support.scripted_executor import running_executor

LONG = "x" * 4000


async def test_a_reader_that_takes_nothing_is_closed_with_4508_and_can_resume_without_loss() -> None:
    async with running_executor() as executor, running_bridge(executor, stall_seconds=1) as bridge:
        slow, quick = await RawClient.connect(bridge.bridge.address), await bridge.connect()
        await quick.subscribe("wf")
        await slow.send_text('{"id":"1","type":"workflow.subscribe","workflowId":"wf"}')
        await eventually(lambda: len(bridge.bridge.hub.feeds["wf"].caster.readers.readers()) == 2)
        executor.append("wf", events.start("a"))
        last = 1
        while not any(session.closing for session in bridge.bridge.registry):
            executor.append("wf", *(events.log(LONG) for _ in range(50)))
            last += 50
            assert await quick.seqs("wf", last) == list(range(1, last + 1))
        texts, code = await slow.read_to_end()
        assert code == 4508
        seen = slow_seqs(texts)
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < last
        again = await bridge.connect()
        answer = await again.subscribe("wf", cursor={"epoch": executor.log.epoch, "seq": len(seen)})
        assert answer["payload"]["outcome"] == "resumed"
        assert await again.seqs("wf", last) == list(range(len(seen) + 1, last + 1))
        slow.close()


async def test_answers_to_pings_do_not_pile_up_for_a_client_that_does_not_take_them() -> None:
    pings = frame(b"x" * 125, PING) * 500
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await RawClient.connect(bridge.bridge.address)
        (session,) = bridge.bridge.registry
        while not session.queued_bytes:
            await client.send(pings)
        for _ in range(40):
            await client.send(pings)
        await client.send(frame(b'{"id":"1","type":"workflow.subscribe","workflowId":"wf"}'))
        await eventually(lambda: "wf" in bridge.bridge.hub.feeds and bridge.bridge.hub.feeds["wf"].caster.readers)
        assert session.queued_bytes < 1 << 20
        await client.read_until(lambda: b"workflow.subscribed" in client.received)
        client.close()


async def test_a_reader_that_stalls_is_closed_with_4508_after_a_while() -> None:
    async with running_executor() as executor, running_bridge(executor, stall_seconds=0.2) as bridge:
        slow = await RawClient.connect(bridge.bridge.address)
        await slow.send_text('{"id":"1","type":"workflow.subscribe","workflowId":"wf"}')
        await eventually(lambda: "wf" in bridge.bridge.hub.feeds and bridge.bridge.hub.feeds["wf"].caster.readers)
        executor.append("wf", events.start("a"))
        (session,) = bridge.bridge.registry
        while session.mode == "normal":
            executor.append("wf", *(events.log(LONG) for _ in range(20)))
            await asyncio.sleep(0.001)
        await eventually(lambda: session.closing)
        assert session.close_code == 4508
        assert (await slow.read_to_end())[1] == 4508
        slow.close()


async def test_a_slow_reader_gets_only_the_newest_telemetry_and_is_told_so_and_every_durable_event() -> None:
    async with running_executor() as executor, running_bridge(executor, outbox_max_bytes=16 << 20) as bridge:
        slow = await RawClient.connect(bridge.bridge.address)
        await slow.send_text('{"id":"1","type":"workflow.subscribe","workflowId":"wf"}')
        await eventually(lambda: "wf" in bridge.bridge.hub.feeds and bridge.bridge.hub.feeds["wf"].caster.readers)
        executor.append("wf", events.start("a"))
        (session,) = bridge.bridge.registry
        last = 1
        while session.mode == "normal":
            executor.append("wf", *(events.log(LONG) for _ in range(20)))
            last += 20
            await asyncio.sleep(0.001)
        for number in range(500):
            executor.tell("wf", events.tick("a", number / 500))
        executor.append("wf", events.success("a"), events.complete())
        await eventually(lambda: bridge.bridge.hub.feeds["wf"].head == last + 2)
        reading = asyncio.create_task(slow.read_to_end())
        await eventually(lambda: b'"normal"' in slow.received and b'"execution.complete"' in slow.received)
        session.close(1000, "enough")
        texts, _ = await reading
        assert slow_seqs(texts) == list(range(1, last + 3))
        text = b"".join(texts)
        assert text.count(b'"progress":') == 1
        assert b'"progress":0.998' in text
        assert text.index(b'"mode":"conflating"') < text.index(b'"mode":"normal"')
        assert await bridge.metric("weftline_bridge_conflated_total") == 499
        slow.close()


async def test_a_reader_on_its_way_to_the_head_when_the_log_is_replaced_is_told_the_new_state() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        slow = await RawClient.connect(bridge.bridge.address)
        executor.append("wf", events.start("a"))
        for _ in range(40):
            executor.append("wf", *(events.log(LONG) for _ in range(50)))
        cursor = f'{{"epoch":"{executor.log.epoch}","seq":0}}'
        await slow.send_text(
            f'{{"id":"1","type":"workflow.subscribe","workflowId":"wf","payload":{{"cursor":{cursor}}}}}'
        )
        (session,) = bridge.bridge.registry
        await eventually(lambda: session.queued_bytes > 200_000)
        feed = bridge.bridge.hub.feeds["wf"]
        assert not feed.caster.readers
        executor.cut()
        executor.wipe()
        executor.append("wf", events.start("b"))
        await eventually(lambda: feed.epoch == executor.log.epoch)
        reading = asyncio.create_task(slow.read_to_end())
        await eventually(lambda: feed.caster.readers)
        executor.append("wf", events.success("b"))
        await eventually(lambda: b'"node.success"' in slow.received)
        session.close(1000, "enough")
        texts, _ = await reading
        messages = [message for text in texts for message in msgspec.json.decode(text)]
        subscribed = [message["payload"] for message in messages if message["type"] == "workflow.subscribed"]
        assert [(each["outcome"], each.get("reason")) for each in subscribed] == [
            ("resumed", None),
            ("snapshot", "wrong_epoch"),
        ]
        types = [message["type"] for message in messages if message["type"] != "system.status"]
        assert types[-2:] == ["workflow.snapshot", "node.success"]
        slow.close()


def slow_seqs(texts: list[bytes]) -> list[int]:
    """The seqs of all events in array frames."""
    messages = [message for text in texts for message in msgspec.json.decode(text)]
    return [message["seq"] for message in messages if "seq" in message]
