"""What the end of a worker, of all workers or of their supervisor means for everyone else."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.integration.bridge.test_process import launch, serving
from tests.support import events
from tests.support.bridge import PATIENCE, Client, eventually
from tests.support.bridge_workers import Samples, Workers, connection_id, running_workers
from tests.support.scripted_executor import ScriptedExecutor, running_executor
from tests.support.tokens import SECRET

COUNTS = ("_total", "_count", "_bucket", "_sum")


def counts(samples: Samples) -> Samples:
    """Those samples that may never fall, but for those that are about one process."""
    return {
        key: value
        for key, value in samples.items()
        if key[0].endswith(COUNTS) and not key[0].startswith(("process_", "python_"))
    }


async def crash(workers: Workers, worker: int) -> None:
    """Kill a worker, and wait until another serves in its place."""
    victim = workers.running()[worker]
    victim.kill()
    async with asyncio.timeout(PATIENCE):
        while workers.running().get(worker) in (None, victim):
            await asyncio.sleep(0.02)
    await workers.ready()


async def resume(workers: Workers, client: Client, epoch: str) -> Client:
    """Come back as a client does whose connection was lost."""
    await client.close_code()
    again = await workers.connect()
    await again.subscribe("wf", cursor={"epoch": epoch, "seq": client.seqs_seen("wf")[-1]})
    return again


async def test_a_worker_that_is_killed_costs_its_own_clients_a_reconnect_and_nobody_an_event() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        theirs = [await workers.connect_to(1) for _ in range(5)]
        others = [await workers.connect_to(2) for _ in range(5)]
        for client in (*theirs, *others):
            await client.subscribe("wf")
        executor.append("wf", events.start("a"), *(events.log("before") for _ in range(50)))
        for client in (*theirs, *others):
            await client.seqs("wf", 51)
        workers.running()[1].kill()
        executor.append("wf", *(events.log("meanwhile") for _ in range(50)))
        again = await asyncio.gather(*(resume(workers, client, executor.log.epoch) for client in theirs))
        executor.append("wf", *(events.log("after") for _ in range(50)), events.complete())
        for client in others:
            assert await client.seqs("wf", 152) == list(range(1, 153))
        for before, after in zip(theirs, again, strict=True):
            assert before.seqs_seen("wf") + await after.seqs("wf", 152) == list(range(1, 153))


async def test_nobody_who_connects_while_a_worker_is_away_is_turned_away() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        workers.running()[1].kill()
        clients = await asyncio.gather(*(workers.connect() for _ in range(100)))
        assert len({await connection_id(client) for client in clients}) == 100
        await workers.ready()
        assert len((await workers.json("/api/connections"))["connections"]) == 100


async def test_counts_never_fall_and_gauges_are_of_the_living_when_workers_die() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        clients = [await workers.connect_to(worker) for worker in (1, 1, 2)]
        for client in clients:
            await client.subscribe("wf")
        executor.append("wf", events.start("a"), *(events.log("x") for _ in range(100)))
        for client in clients:
            await client.seqs("wf", 101)
        before = await workers.samples()
        assert before["messages_total", "execution.log", "out"] == 300
        for number in (1, 2):
            await crash(workers, 1)
            after = await workers.samples()
            assert {key for key, value in counts(before).items() if counts(after).get(key, -1) < value} == set()
            assert (after["connections", "v1"], after["worker_deaths_total",], after["workers",]) == (1, number, 2)
            assert after["messages_total", "execution.log", "out"] == 300
            before = after
        executor.append("wf", events.log("y"))
        await clients[2].seqs("wf", 102)
        assert (await workers.samples())["messages_total", "execution.log", "out"] == 301


async def test_a_worker_that_is_told_to_end_drains_alone_and_what_it_counted_to_the_last_is_kept() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        theirs, others = await workers.connect_to(1), await workers.connect_to(2)
        closed = (await workers.samples()).get(("disconnects_total", "1012"), 0)
        workers.running()[1].terminate()
        await theirs.of_type("connection.draining")
        assert await theirs.close_code() == 1012
        await workers.ready()
        found = await workers.samples()
        assert (found["disconnects_total", "1012"], found["workers",]) == (closed + 1, 2)
        assert await workers.worker_of(others) == 2


async def gone(processes: list[psutil.Process]) -> None:
    """Wait until these processes have ended."""
    await eventually(lambda: not [each for each in processes if each.is_running() and each.status() != "zombie"])


async def test_nobody_is_left_when_the_supervisor_is_killed() -> None:
    async with running_executor() as executor, running_workers(executor, 3) as workers:
        running = list(workers.running().values())
        assert len(running) == 3
        client = await workers.connect()
        workers.supervisor.kill()
        assert await workers.process.ended() == -signal.SIGKILL
        assert await client.close_code() == 1006
        await gone(running)


async def flood(executor: ScriptedExecutor) -> None:
    while True:
        executor.append("wf", *(events.log("x" * 500) for _ in range(20)))
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_all_workers_under_load_and_ends_them_with_status_0(number: signal.Signals) -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        clients = [await workers.connect() for _ in range(40)]
        executor.append("wf", events.start("a"))
        for client in clients:
            await client.subscribe("wf")
        running = list(workers.running().values())
        loop = asyncio.get_running_loop()
        times: list[float] = []

        async def closing(client: Client) -> int:
            code = await client.close_code()
            times.append(loop.time())
            return code

        load = asyncio.create_task(flood(executor), name="flood")
        closed = [asyncio.create_task(closing(client), name="closing") for client in clients]
        workers.process.process.send_signal(number)
        assert set(await asyncio.gather(*closed)) == {1012}
        assert await workers.process.ended() == 0
        load.cancel()
        await gone(running)
        assert max(times) - min(times) > 0.5
        assert all("connection.draining" in client.types_seen() for client in clients)
        seen = [seqs for client in clients if (seqs := client.seqs_seen("wf"))]
        assert len(seen) > len(clients) / 2
        assert all(seqs == list(range(seqs[0], seqs[0] + len(seqs))) for seqs in seen)


async def test_a_worker_that_hangs_is_told_of_and_does_not_keep_the_others_from_ending() -> None:
    async with running_executor() as executor, running_workers(executor, DRAIN_SECONDS="0.2") as workers:
        client = await workers.connect_to(2)
        hung = workers.running()[1]
        hung.suspend()
        async with asyncio.timeout(PATIENCE):
            # What comes to the worker that hangs is answered by nobody.
            while (await _impatient(workers, "/healthz")) != (503, "worker 1 does not answer\n"):
                pass
        workers.process.process.send_signal(signal.SIGTERM)
        assert await client.close_code() == 1012
        assert await workers.process.ended() == 0
        await gone([hung])


async def _impatient(workers: Workers, path: str) -> tuple[int, str]:
    try:
        async with asyncio.timeout(5):
            return await workers.get(path)
    except TimeoutError:
        return 0, ""


async def test_a_worker_that_cannot_be_started_again_ends_the_bridge_and_says_why(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    async with (
        running_executor() as executor,
        serving(executor, WORKERS="2", AUTH_SECRET_FILE=str(secret), DRAIN_SECONDS="0.2") as process,
    ):
        workers = psutil.Process(process.process.pid).children()
        secret.unlink()
        workers[0].kill()
        assert await process.ended() == 2
        await gone(workers)
    assert sum("WEFTLINE_BRIDGE_AUTH_SECRET_FILE: " in line for line in process.lines) == 5
    assert any("ended again and again before it served clients" in line for line in process.lines)


@pytest.mark.parametrize("setting", ["LISTEN", "METRICS_LISTEN"])
async def test_a_busy_port_is_one_clear_sentence_and_status_1_for_several_workers_too(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        defaults = {"LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "127.0.0.1:0", "WORKERS": "2"}
        process = await launch(**{**defaults, setting: address})
        assert await process.ended() == 1
    (line,) = process.lines
    assert line.startswith(f"weftline-bridge: cannot listen on {address} (WEFTLINE_BRIDGE_{setting}): ")


async def test_a_second_bridge_does_not_share_the_port_of_the_first() -> None:
    async with running_executor() as executor, running_workers(executor) as workers:
        for number in ("1", "2"):
            second = await launch(LISTEN=workers.process.url, METRICS_LISTEN="127.0.0.1:0", WORKERS=number)
            assert await second.ended() == 1
            assert "address already in use" in second.lines[0].lower()


@pytest.mark.parametrize(
    ("setting", "value"), [("WORKERS", "0"), ("WORKERS", "65"), ("WORKERS", "two"), ("ALLOWED_ORIGINS", "example.org")]
)
async def test_a_wrong_setting_is_one_sentence_and_status_2_for_several_workers_too(setting: str, value: str) -> None:
    process = await launch(**{"LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "127.0.0.1:0", "WORKERS": "2", setting: value})
    assert await process.ended() == 2
    (line,) = process.lines
    assert line.startswith(f"weftline-bridge: WEFTLINE_BRIDGE_{setting}: ")


async def test_logs_say_which_worker_they_are_of() -> None:
    async with running_executor() as executor:
        async with serving(executor, WORKERS="2", LOG_FORMAT="json") as process:
            process.process.send_signal(signal.SIGTERM)
            assert await process.ended() == 0
        assert [line for line in process.lines if not line.startswith('{"time": ')] == []
        assert all(any(f'"worker": {number}}}' in line for line in process.lines) for number in (1, 2))
