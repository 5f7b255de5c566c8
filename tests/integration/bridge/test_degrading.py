"""What a slow client gets less and less of, in steps that it is told of, while nobody else notices it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import events
from tests.support.bridge import RunningBridge, eventually, running_bridge
from tests.support.raw_client import RawClient
from tests.support.scripted_executor import ScriptedExecutor, running_executor
from weftline.v1 import events_pb2 as ev
from weftline_bridge.session.session import HIGH_WATER, Session

LONG = "x" * 4000
SUBSCRIBE = '{"id":"s","type":"workflow.subscribe","workflowId":"%s"}'
MIB = 1 << 20


class Folded:
    """What a client knows of a workflow by the gap rule: events it had, and seqs that were accounted for."""

    def __init__(self, messages: list[dict[str, Any]], workflow_id: str = "wf") -> None:
        self.last = 0
        self.had: list[int] = []
        self.gaps: list[dict[str, Any]] = []
        self.snapshots: list[int] = []
        for message in messages:
            if message["workflowId"] == workflow_id:
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        payload = message["payload"]
        if message["type"] == "workflow.snapshot":
            assert payload["seq"] >= self.last
            self.snapshots.append(payload["seq"])
            self.last = payload["seq"]
        elif message["type"] == "stream.gap":
            assert payload["from"] == self.last + 1
            assert sum(payload["dropped"].values()) == payload["to"] - payload["from"] + 1
            self.gaps.append(payload)
            self.last = payload["to"]
        elif "seq" in message:
            assert message["seq"] == self.last + 1
            self.had.append(message["seq"])
            self.last = message["seq"]


def modes(messages: list[dict[str, Any]]) -> list[str]:
    """The modes that a client was told of."""
    return [message["payload"]["mode"] for message in messages if message["type"] == "delivery.state"]


async def subscribed(bridge: RunningBridge, workflow_id: str = "wf") -> tuple[RawClient, Session]:
    """A client that subscribed and reads nothing, and its session."""
    before = set(bridge.bridge.registry)
    client = await RawClient.connect(bridge.bridge.address)
    await client.send_text(SUBSCRIBE % workflow_id)
    while b"workflow.subscribed" not in client.received:
        await client.read()
    (session,) = set(bridge.bridge.registry) - before
    return client, session


async def fill(executor: ScriptedExecutor, session: Session, level: ev.LogLevel.ValueType, until: str) -> int:
    """Append logs until the session is served in a mode; how many."""
    count = 0
    async with asyncio.timeout(30):
        while session.mode != until:
            executor.append("wf", *(events.log(LONG, level) for _ in range(10)))
            count += 10
            await asyncio.sleep(0.001)
    return count


async def at_head(bridge: RunningBridge, seq: int) -> None:
    """Wait until the bridge has all events of the workflow up to a seq, and has handed them to its sessions."""
    hub = bridge.bridge.hub
    await eventually(lambda: "wf" in hub.feeds and hub.feeds["wf"].head == seq)
    hub.flusher.flush()


async def test_logs_are_shed_for_a_slow_client_and_accounted_for_and_it_is_told_of_every_step() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        slow, session = await subscribed(bridge)
        executor.append("wf", events.start("a"))
        count = 1 + await fill(executor, session, ev.LOG_LEVEL_DEBUG, "shedding")
        for _ in range(20):
            executor.append("wf", *(events.log(LONG, ev.LOG_LEVEL_DEBUG) for _ in range(50)))
        executor.append("wf", events.log("mind", ev.LOG_LEVEL_WARN), events.success("a"), events.complete())
        count += 20 * 50 + 3
        await at_head(bridge, count)
        assert session.queued_bytes < HIGH_WATER * 2 + MIB
        await slow.read_until(lambda: b'"mode":"normal"' in slow.received)
        messages = slow.messages()
        folded = Folded(messages)
        assert folded.last == count
        assert folded.had[-3:] == [count - 2, count - 1, count]
        assert {gap["reason"] for gap in folded.gaps} == {"slow_client"}
        assert folded.gaps[-1]["to"] - folded.gaps[0]["from"] >= 20 * 50
        told = modes(messages)
        assert (told[0], told[-1]) in (("shedding", "normal"), ("conflating", "normal"))
        assert "shedding" in told
        assert not folded.snapshots
        dropped = sum(sum(gap["dropped"].values()) for gap in folded.gaps)
        assert await bridge.metric("weftline_bridge_shed_total", level="debug") == dropped
        assert await bridge.metric("weftline_bridge_gaps_total") == len(folded.gaps)
        slow.close()


@pytest.mark.parametrize("subscription", ["wf", "*"])
async def test_events_that_can_not_be_shed_make_way_for_the_state_and_then_the_events_after_it(
    subscription: str,
) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        slow, session = await subscribed(bridge, subscription)
        executor.append("wf", events.start("a"))
        executor.append("light", events.start("b"))
        count = 1
        for _ in range(30):
            executor.append("wf", *(events.log(LONG, ev.LOG_LEVEL_WARN) for _ in range(50)))
            count += 50
            await at_head(bridge, count)
            assert session.queued_bytes < HIGH_WATER * 3 + MIB
        assert session.mode == "shedding"
        assert not session.closing
        await slow.read_until(lambda: b'"slow_client"' in slow.received and b'"mode":"normal"' in slow.received)
        executor.append("wf", events.success("a"), events.complete())
        executor.append("light", events.complete())
        await slow.read_until(
            lambda: slow.received.count(b'"execution.complete"') == (1 if subscription == "wf" else 2)
        )
        folded = Folded(slow.messages())
        assert folded.last == count + 2
        assert folded.snapshots[-1] >= MIB // len(LONG)
        reasons = [each["payload"].get("reason") for each in slow.messages() if each["type"] == "workflow.subscribed"]
        assert reasons[-1] == "slow_client"
        if subscription == "*":
            assert Folded(slow.messages(), "light").had == [1, 2]
        assert await bridge.metric("weftline_bridge_replaced_total") >= 1
        slow.close()


async def test_a_reader_that_takes_nothing_delays_no_other_and_is_closed_in_the_end() -> None:
    async with running_executor() as executor, running_bridge(executor, stall_seconds=1) as bridge:
        quick = [await bridge.connect() for _ in range(3)]
        for client in quick:
            await client.subscribe("wf")
        slow, session = await subscribed(bridge)
        executor.append("wf", events.start("a"))
        last = 1
        while not session.closing:
            executor.append("wf", *(events.log(LONG, ev.LOG_LEVEL_WARN) for _ in range(50)))
            last += 50
            for client in quick:
                assert (await client.seqs("wf", last))[-1] == last
                client.seen.clear()
        assert session.close_code == 4508
        slow.close()


async def test_a_slow_plain_client_is_only_conflated_and_closed_at_the_bound() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        slow = await RawClient.connect(bridge.bridge.address, protocol="")
        await eventually(lambda: bridge.bridge.hub.watches_all)
        (session,) = bridge.bridge.registry
        executor.append("wf", events.start("a"))
        while not session.closing:
            executor.append("wf", *(events.log(LONG, ev.LOG_LEVEL_DEBUG) for _ in range(20)))
            assert session.mode in ("normal", "conflating")
            await asyncio.sleep(0.001)
        assert (await slow.read_to_end())[1] == 4508
        folded = Folded(slow.messages())
        assert folded.had == list(range(1, folded.last + 1))
        slow.close()


async def test_a_client_that_takes_nothing_of_a_little_counts_as_slow_after_a_while_and_is_closed_later() -> None:
    async with running_executor() as executor, running_bridge(executor, stall_seconds=3) as bridge:
        slow, session = await subscribed(bridge)
        executor.append("wf", events.start("a"))
        while not 0 < session.queued_bytes < HIGH_WATER:
            executor.append("wf", *(events.log(LONG) for _ in range(5)))
            await asyncio.sleep(0.005)
        await eventually(lambda: session.mode == "conflating")
        assert session.queued_bytes < HIGH_WATER
        await eventually(lambda: session.closing)
        assert session.close_code == 4508
        slow.close()


async def test_a_client_that_is_cut_off_may_ask_anew_and_gets_one_state() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        slow, session = await subscribed(bridge)
        executor.append("wf", events.start("a"))
        while not session.cut_off:
            executor.append("wf", *(events.log(LONG, ev.LOG_LEVEL_WARN) for _ in range(20)))
            await asyncio.sleep(0.001)
        await slow.send_text(SUBSCRIBE.replace('"s"', '"again"') % "wf")
        await eventually(lambda: not session.cut_off)
        await slow.read_until(lambda: b'"mode":"normal"' in slow.received and b'"again"' in slow.received)
        executor.append("wf", events.complete())
        await slow.read_until(lambda: b'"execution.complete"' in slow.received)
        assert Folded(slow.messages()).last == executor.log.workflows["wf"].head
        assert b"slow_client" not in slow.received
        slow.close()
