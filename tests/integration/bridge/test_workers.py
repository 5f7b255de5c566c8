"""A bridge of several workers is one bridge to its clients: wherever they are, and whoever answers."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.integration.cli.process import weftline
from tests.support import events
from tests.support.bridge import Client
from tests.support.bridge_workers import connection_id, running_workers
from tests.support.scripted_executor import running_executor
from tests.support.tokens import SECRET, permitting, token

OFTEN = 20
"""How often something is asked so that every worker has answered, all but surely."""


async def test_connections_are_spread_over_the_workers_and_whoever_is_asked_lists_them_all() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        clients = await asyncio.gather(*(workers.connect() for _ in range(60)))
        ids = {await connection_id(client) for client in clients}
        answers = [(await workers.json("/api/connections"))["connections"] for _ in range(OFTEN)]
        assert all({each["id"] for each in answer} == ids for answer in answers)
        assert all(answer == sorted(answer, key=lambda each: (each["since"], each["id"])) for answer in answers)
        spread = Counter(each["worker"] for each in answers[0])
        assert set(spread) == {1, 2}
        assert min(spread.values()) >= 10
        assert workers.metrics_url in (await workers.get("/"))[1]


async def test_clients_of_all_workers_see_the_same_events_and_how_many_they_are() -> None:
    async with running_executor() as executor, running_workers(executor, STATUS_INTERVAL="0.2") as workers:
        clients = [await workers.connect_to(worker) for worker in (1, 1, 2)]
        for client in clients:
            await client.subscribe("wf")
        executor.append("wf", events.start("a"), events.running("a"), events.success("a"))
        assert [await client.seqs("wf", 3) for client in clients] == [[1, 2, 3]] * 3
        for client in clients:
            await client.until(
                lambda message: message["type"] == "system.status" and message["payload"]["connections"] == 3
            )


async def test_a_client_resumes_on_another_worker_and_repeats_its_command_there_without_effect() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        first = await workers.connect_to(1)
        await first.subscribe("wf")
        command = await first.send("workflow.start", "wf", {"nodes": [], "edges": []})
        accepted = await first.of_type("command.accepted")
        executor.append("wf", events.running("a"), events.success("a"))
        await first.seqs("wf", 3)
        await first.ws.close()
        executor.append("wf", events.log("meanwhile"), events.complete())
        second = await workers.connect_to(2)
        answer = await second.subscribe("wf", cursor={"epoch": executor.log.epoch, "seq": 3})
        assert answer["payload"]["outcome"] == "resumed"
        assert await second.seqs("wf", 5) == [4, 5]
        await second.send("workflow.start", "wf", {"nodes": [], "edges": []}, id=command)
        again = await second.of_type("command.accepted")
        assert again["payload"] == accepted["payload"]
        assert executor.log.workflows["wf"].head == 5


async def test_metrics_are_those_of_all_workers() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        clients = [await workers.connect_to(worker) for worker in (1, 2, 2)]
        opened = (await workers.samples())["connects_total", "v1"]
        for client in clients:
            await client.subscribe("wf")
        executor.append("wf", events.start("a"), events.running("a"), events.success("a"))
        for client in clients:
            await client.seqs("wf", 3)
        found = await workers.samples()
        assert found["connections", "v1"] == len((await workers.json("/api/connections"))["connections"])
        assert found["connects_total", "v1"] == opened >= 3
        assert found["messages_total", "node.success", "out"] == 3
        timed = found["event_to_socket_seconds_count", "arrival"]
        assert found["event_to_socket_seconds_bucket", "+Inf", "arrival"] == timed >= 2
        assert (found["feeds",], found["upstream_connected",], found["info", "0.1.0"], found["workers",]) == (
            2,
            1,
            1,
            2,
        )
        assert all(found["process_resident_memory_bytes", each] > 1e7 for each in ("1", "2", "supervisor"))
        assert ("process_resident_memory_bytes",) not in found


async def test_it_is_ready_when_all_workers_are_and_healthy_meanwhile() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        await executor.stop()
        async with asyncio.timeout(30):
            while (await workers.get("/readyz")) != (503, "the executor is not reachable\n"):
                await asyncio.sleep(0.02)
        assert {await workers.get("/healthz") for _ in range(OFTEN)} == {(200, "ok\n")}
        await executor.start()
        await workers.ready()


async def test_the_flight_recorder_answers_for_all_workers_and_says_why_a_client_did_not_see_an_event() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        watching, other = await workers.connect_to(1), await workers.connect_to(2)
        await watching.subscribe("wf")
        executor.append("wf", events.start("a"), events.running("a"))
        await watching.seqs("wf", 2)
        await other.subscribe("late")
        ids = [await connection_id(each) for each in (watching, other)]
        for _ in range(OFTEN):
            records = [await workers.json(f"/api/recorder/connections/{each}") for each in ids]
            assert [(each["connectionId"], each["worker"]) for each in records] == [(ids[0], 1), (ids[1], 2)]
            assert [each["subscriptions"] for each in records] == [["wf"], ["late"]]
            assert (await workers.get("/api/recorder/connections/nobody"))[0] == 404
            assert (await workers.get(f"/api/recorder/workflows/wf?connection={ids[1]}"))[0] == 404
        status, lines = await workers.get(f"/api/recorder/connections/{ids[0]}?format=ndjson")
        assert status == 200
        assert len(lines.splitlines()) == 1 + len(records[0]["records"])

        async def debug(*arguments: str) -> list[dict[str, object]]:
            result = await weftline("debug", *arguments, "--json", WEFTLINE_BRIDGE=workers.url)
            assert result.code == 0, result.err
            return result.rows

        assert [each["id"] for each in await debug("connections")] == ids
        assert (await debug("why", ids[0], "wf", "2"))[0]["code"] == "written"
        assert (await debug("why", ids[1], "wf", "2"))[0]["code"] == "not_subscribed"


async def test_what_came_of_a_workflow_is_told_by_all_who_follow_it() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        clients: list[Client] = [await workers.connect_to(worker) for worker in (1, 2)]
        for client in clients:
            await client.subscribe("wf")
        executor.append("wf", events.start("a"), events.running("a"))
        for client in clients:
            await client.seqs("wf", 2)
        for _ in range(OFTEN):
            found = await workers.json("/api/recorder/workflows/wf")
            received = [each for each in found["records"] if each["kind"] == "received"]
            assert {each["worker"] for each in received} == {1, 2}
            assert [each["at"] for each in found["records"]] == sorted(each["at"] for each in found["records"])
            one = await workers.json(f"/api/recorder/workflows/wf?connection={await connection_id(clients[0])}")
            assert {each["worker"] for each in one["records"]} == {1}


async def test_permissions_are_the_same_whoever_is_asked() -> None:
    ada, ben = token("ada"), permitting("ben", view=["mine-*"])
    async with running_executor() as executor, running_workers(executor, AUTH_SECRET=SECRET) as workers:
        clients = [await workers.connect_to(1, ada), await workers.connect_to(2, ada)]
        for client in clients:
            await client.subscribe("wf")
        own = await workers.connect(token=ben)
        theirs, bens = [await connection_id(client) for client in clients], await connection_id(own)
        for _ in range(OFTEN):
            assert [each["id"] for each in (await workers.json("/api/connections", ben))["connections"]] == [bens]
            assert len((await workers.json("/api/connections", ada))["connections"]) == 3
            for each in theirs:
                assert (await workers.get(f"/api/recorder/connections/{each}", ben))[0] == 404
            assert (await workers.json(f"/api/recorder/connections/{bens}", ben))["connectionId"] == bens
            assert (await workers.get("/api/recorder/workflows/wf", ben))[0] == 404
            assert (await workers.get("/api/recorder/workflows/wf", ada))[0] == 200
            assert (await workers.get("/api/connections"))[0] == 401


async def test_limits_are_shared_out_among_the_workers() -> None:
    async with running_executor() as executor, running_workers(executor, MAX_CONNECTIONS="7") as workers:
        clients = [await workers.connect() for _ in range(60)]
        codes = await asyncio.gather(*(_refusal(client) for client in clients))
        assert Counter(codes) == {0: 8, 1013: 52}


async def _refusal(client: Client) -> int:
    """The code that a client is turned away with, 0 if it is let in."""
    try:
        await client.of_type("connection.ready")
    except ConnectionError:
        return client.ws.close_code or 0
    return 0
