"""How a client is let in: by the events it missed, by a snapshot, or by the word that there is nothing yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support import events
from tests.support.bridge import Client, Json, eventually, running_bridge
from tests.support.scripted_executor import ScriptedExecutor, running_executor
from weftline.v1 import events_pb2 as ev


async def test_a_workflow_with_a_run_is_joined_by_a_snapshot_of_its_whole_state() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a", "b"), events.running("a"), events.success("a", '{"x": [1, 2]}'))
        executor.append("wf", events.log("hello"), events.paused())
        client = await bridge.connect()
        subscribed = (await client.subscribe("wf"))["payload"]
        assert (subscribed["outcome"], subscribed["seq"]) == ("snapshot", 5)
        snapshot = await client.of_type("workflow.snapshot")
        payload = snapshot["payload"]
        assert snapshot["runId"] == executor.log.workflows["wf"].run_id
        assert payload["epoch"] == executor.log.epoch
        assert (payload["seq"], payload["state"], payload["reason"]) == (5, "paused", "lunch")
        assert [node["id"] for node in payload["definition"]["nodes"]] == ["a", "b"]
        assert payload["nodes"][0] == {
            "nodeId": "a",
            "status": "success",
            "attempt": 1,
            "data": {"x": [1, 2]},
            "duration": 12,
        }
        assert payload["nodes"][1]["status"] == "pending"
        assert payload["progress"]["completedNodes"] == 1
        assert payload["logs"][0]["payload"]["message"] == "hello"


async def test_a_cursor_is_resumed_from_the_ring_without_asking_the_executor() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        first = await bridge.connect()
        await first.subscribe("wf")
        executor.append("wf", events.start("a"), *(events.log(str(n)) for n in range(20)))
        await first.seqs("wf", 21)
        calls = dict(executor.calls)
        second = await bridge.connect()
        answer = await second.subscribe("wf", cursor={"epoch": executor.log.epoch, "seq": 5})
        assert (answer["payload"]["outcome"], answer["payload"]["seq"]) == ("resumed", 5)
        assert await second.seqs("wf", 21) == list(range(6, 22))
        assert without_pulse(executor) == {name: n for name, n in calls.items() if name != "pulse"}


@pytest.mark.parametrize("keeper", [None, "plain"])
async def test_a_cursor_that_the_ring_does_not_cover_is_resumed_from_the_executors_history(keeper: str | None) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"), *(events.log(str(n)) for n in range(2000)))
        if keeper:
            await (await bridge.connect(keeper)).of_type("workflow.start")
        client = await bridge.connect()
        answer = await client.subscribe("wf", cursor={"epoch": executor.log.epoch, "seq": 3})
        assert answer["payload"]["outcome"] == "resumed"
        executor.append("wf", events.complete())
        assert await client.seqs("wf", 2002) == list(range(4, 2003))


async def test_a_resume_of_more_than_the_outbox_may_hold_is_led_to_the_head_piece_by_piece() -> None:
    async with running_executor() as executor, running_bridge(executor, outbox_max_bytes=64 * 1024) as bridge:
        long = "x" * 2000
        executor.append("wf", events.start("a"))
        for _ in range(10):
            executor.append("wf", *(events.log(long) for _ in range(100)))
        client = await bridge.connect()
        await client.subscribe("wf", cursor={"epoch": executor.log.epoch, "seq": 0})
        executor.append("wf", events.complete())
        assert await client.seqs("wf", 1002) == list(range(1, 1003))


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ({"epoch": "of another log", "seq": 1}, "wrong_epoch"),
        ({"epoch": "", "seq": 99}, "seq_ahead"),
        ({"epoch": "", "seq": 0}, "compacted"),
    ],
)
async def test_a_cursor_that_can_not_be_resumed_gets_a_snapshot_and_the_reason(cursor: Json, reason: str) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"), events.running("a"))
        executor.compact("wf")
        client = await bridge.connect()
        answer = await client.subscribe("wf", cursor={**cursor, "epoch": cursor["epoch"] or executor.log.epoch})
        assert (answer["payload"]["outcome"], answer["payload"]["reason"]) == ("snapshot", reason)
        assert (await client.of_type("workflow.snapshot"))["payload"]["seq"] == 2
        executor.append("wf", events.success("a"))
        assert await client.seqs("wf", 3) == [3]


async def test_many_joins_at_once_cost_one_call_of_the_executor() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"), events.running("a"))
        clients = [await bridge.connect() for _ in range(50)]
        await asyncio.gather(*(client.subscribe("wf") for client in clients))
        executor.append("wf", events.success("a"))
        assert [await client.seqs("wf", 3) for client in clients] == [[3]] * 50
        assert without_pulse(executor) == {"watch:wf": 1}


async def test_many_late_plain_clients_at_once_cost_one_call_of_the_executor() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        first = await bridge.connect("plain")
        await eventually(lambda: bridge.bridge.hub.watches_all)
        executor.append("wf", events.start("a"), events.running("a"))
        await first.of_type("node.running")
        clients = [await bridge.connect("plain") for _ in range(50)]
        for client in clients:
            assert "seq" not in await client.of_type("node.running")
        executor.append("wf", events.success("a"))
        for client in clients:
            assert (await client.of_type("node.success"))["seq"] == 3
        assert without_pulse(executor) == {"watch:*": 1, "GetWorkflow": 1}


@pytest.mark.parametrize("dialect", ["named", "star", "plain"])
async def test_clients_that_join_under_load_miss_nothing_after_what_they_were_told(dialect: str) -> None:
    async with running_executor() as executor, running_bridge(executor, ring_max_events=64) as bridge:
        keeper = await bridge.connect("plain" if dialect != "named" else "weftline.v1")
        executor.append("wf", events.start("a"))
        async with appending(executor, "wf") as stop:
            clients = []
            for _ in range(15):
                client = await bridge.connect("plain" if dialect == "plain" else "weftline.v1")
                if dialect != "plain":
                    await client.send("workflow.subscribe", "wf" if dialect == "named" else "*")
                clients.append(client)
                await asyncio.sleep(0.005)
        for client in clients:
            await client.of_type("workflow.start" if dialect == "plain" else "workflow.snapshot")
        executor.append("wf", events.complete())
        last = stop()
        for client in clients:
            seen = await client.seqs("wf", last)
            assert seen == list(range(seen[0], last + 1))
            if dialect != "plain":
                assert told_seq(client) + 1 == seen[0]
        await keeper.ws.close()


async def test_cursors_resumed_under_load_get_each_event_exactly_once() -> None:
    async with running_executor() as executor, running_bridge(executor, ring_max_events=32) as bridge:
        executor.append("wf", events.start("a"))
        clients: list[Client] = []
        async with appending(executor, "wf") as stop:
            for _ in range(15):
                client = await bridge.connect()
                await client.send("workflow.subscribe", "wf", {"cursor": {"epoch": executor.log.epoch, "seq": 1}})
                clients.append(client)
                await asyncio.sleep(0.005)
        last = stop()
        for client in clients:
            assert await client.seqs("wf", last) == list(range(2, last + 1))


async def test_a_snapshot_that_overtakes_the_stream_repeats_no_event() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        star = await bridge.connect()
        await star.subscribe("*")
        executor.append("wf", events.start("a"))
        await star.seqs("wf", 1)
        executor.snapshot_gate.clear()
        named = await bridge.connect()
        await named.send("workflow.subscribe", "wf")
        await eventually(lambda: executor.calls["GetWorkflow"] == 1)
        late = executor.log.append("wf", [events.running("a"), events.success("a")])
        executor.snapshot_gate.set()
        assert (await named.of_type("workflow.snapshot"))["payload"]["seq"] == 3
        executor.send_raw("wf", *late.events)
        executor.append("wf", events.complete())
        assert await named.seqs("wf", 4) == [4]
        assert await star.seqs("wf", 4) == [1, 2, 3, 4]


async def test_subscribing_to_all_brings_active_workflows_by_snapshot_and_new_ones_as_they_begin() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("one", events.start("a"))
        executor.append("old", events.start("a"), events.complete())
        client = await bridge.connect()
        answer = await client.subscribe("*")
        assert (answer["workflowId"], answer["payload"]["outcome"]) == ("*", "snapshot")
        assert (await client.of_type("workflow.snapshot"))["workflowId"] == "one"
        executor.append("two", events.start("b"))
        executor.append("one", events.running("a"))
        assert await client.seqs("two", 1) == [1]
        assert await client.seqs("one", 2) == [2]
        assert "old" not in [message["workflowId"] for message in client.seen]


async def test_a_subscription_by_name_takes_precedence_over_the_one_to_all() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.subscribe("*")
        await client.subscribe("wf", telemetry=False)
        executor.append("wf", events.start("a"), events.running("a"))
        executor.tell("wf", events.tick("a", 0.5))
        executor.append("wf", events.success("a"))
        assert await client.seqs("wf", 3) == [1, 2, 3]
        assert not [message for message in client.seen if "progress" in message["payload"]]
        await client.send("workflow.unsubscribe", "wf")
        await client.of_type("command.accepted")
        executor.append("wf", events.complete())
        assert await client.seqs("wf", 4) == [1, 2, 3, 4]


async def test_after_unsubscribing_nothing_more_comes() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.subscribe("wf")
        executor.append("wf", events.start("a"))
        await client.seqs("wf", 1)
        await client.send("workflow.unsubscribe", "wf")
        await client.of_type("command.accepted")
        executor.append("wf", events.running("a"))
        await client.subscribe("other")
        executor.append("other", events.start("a"))
        await client.seqs("other", 1)
        assert client.seqs_seen("wf") == [1]


async def test_withheld_logs_are_accounted_for_by_one_gap_before_the_next_event() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        await client.subscribe("wf", logs="warn", telemetry=False)
        executor.append("wf", events.start("a"), events.log("no"))
        executor.append("wf", events.log("no"), events.log("yes", ev.LOG_LEVEL_WARN))
        executor.append("wf", events.success("a"))
        assert await client.seqs("wf", 5) == [1, 4, 5]
        gaps = [message["payload"] for message in client.seen if message["type"] == "stream.gap"]
        assert gaps == [{"from": 2, "to": 3, "dropped": {"execution.log": 2}, "reason": "filtered"}]


@pytest.mark.parametrize("count", [10, 3000])
async def test_logs_withheld_from_a_resumed_client_are_accounted_for_up_to_the_head(count: int) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a"))
        for _ in range(count // 10):
            executor.append("wf", *(events.log("no") for _ in range(10)))
        client = await bridge.connect()
        await client.subscribe("wf", cursor={"epoch": executor.log.epoch, "seq": 0}, logs="warn")
        gap = await client.of_type("stream.gap")
        assert client.seqs_seen("wf") == [1]
        assert gap["payload"]["from"] == 2
        while gap["payload"]["to"] < count + 1:
            following = await client.of_type("stream.gap")
            assert following["payload"]["from"] == gap["payload"]["to"] + 1
            gap = following
        executor.append("wf", events.complete())
        assert await client.seqs("wf", count + 2) == [1, count + 2]


async def test_a_late_plain_client_is_not_told_of_runs_that_have_ended() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        first = await bridge.connect("plain")
        await eventually(lambda: bridge.bridge.hub.watches_all)
        executor.append("ended", events.start("a"), events.complete())
        executor.append("failed", events.start("a"), ev.RunError(error="no", code="c"))
        executor.append("active", events.start("a"))
        await first.seqs("active", 1)
        late = await bridge.connect("plain")
        await late.of_type("execution.progress")
        executor.append("active", events.complete())
        await late.of_type("execution.complete")
        assert {message["workflowId"] for message in late.seen} == {"", "active"}


async def test_while_the_executor_is_away_a_known_workflow_is_served_and_an_unknown_one_refused() -> None:
    async with running_executor() as executor, running_bridge(executor, command_timeout=0.3) as bridge:
        executor.append("wf", events.start("a"), events.running("a"))
        first = await bridge.connect()
        await first.subscribe("wf")
        await executor.stop()
        await first.until(lambda message: message["payload"].get("executor") == "reconnecting")
        second = await bridge.connect()
        assert (await second.subscribe("wf"))["payload"]["outcome"] == "snapshot"
        assert (await second.of_type("workflow.snapshot"))["payload"]["seq"] == 2
        refused = await second.subscribe("unknown")
        assert (refused["type"], refused["payload"]["code"]) == ("command.rejected", "executor_unavailable")


async def test_a_subscription_waits_for_an_executor_that_comes_back_in_time() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        await executor.stop()
        await eventually(lambda: not bridge.bridge.hub.connected)
        client = await bridge.connect()
        await client.send("workflow.subscribe", "wf")
        executor.append("wf", events.start("a"))
        await executor.start()
        assert (await client.of_type("workflow.subscribed"))["payload"]["outcome"] == "snapshot"


async def test_a_late_plain_client_is_brought_up_to_date_by_ordinary_messages() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.append("wf", events.start("a", "b"), events.running("a"), events.success("a"), events.paused())
        client = await bridge.connect("plain")
        await client.of_type("workflow.pause")
        told = [
            (each["type"], each["payload"].get("nodeId")) for each in client.seen if each["type"] != "system.status"
        ]
        assert told == [
            ("workflow.start", None),
            ("node.success", "a"),
            ("node.pending", "b"),
            ("execution.progress", None),
            ("workflow.pause", None),
        ]
        assert client.seqs_seen("wf") == []
        executor.append("wf", events.running("b"))
        assert (await client.of_type("node.running"))["seq"] == 5


async def test_feeds_and_streams_go_away_some_time_after_the_last_reader() -> None:
    async with running_executor() as executor, running_bridge(executor, linger_seconds=0.05) as bridge:
        client, plain = await bridge.connect(), await bridge.connect("plain")
        await client.subscribe("wf")
        executor.append("other", events.start("a"))
        await plain.of_type("workflow.start")
        await client.ws.close()
        await plain.ws.close()
        await eventually(lambda: not bridge.bridge.hub.feeds)
        await eventually(lambda: [w.request.workflow_id[:9] for w in executor.watches] == ["weftline:"])


@contextlib.asynccontextmanager
async def appending(executor: ScriptedExecutor, workflow_id: str) -> AsyncIterator[Callable[[], int]]:
    """Append events all the while; what is yielded tells, after the block, the last seq."""

    async def append() -> None:
        while True:
            executor.append(workflow_id, *(events.log("busy") for _ in range(3)))
            await asyncio.sleep(0.001)

    task = asyncio.create_task(append())
    try:
        yield lambda: executor.log.workflows[workflow_id].head
    finally:
        task.cancel()
        await asyncio.wait({task})


def told_seq(client: Client) -> int:
    """The seq as of which the client was told the state, 0 when it was not."""
    told = [each["payload"]["seq"] for each in client.seen if each["type"] == "workflow.snapshot"]
    return max(told, default=0)


def without_pulse(executor: ScriptedExecutor) -> dict[str, int]:
    """The calls of the executor but those of the stream that only tells that it lives."""
    return {name: number for name, number in executor.calls.items() if name != "pulse"}
