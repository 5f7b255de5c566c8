"""A disk that fills up: runs are refused by name, what is there is still served, and space lets everything go on."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.support.executor_checks import check_run
from tests.support.executor_client import CALL_SECONDS, Client, is_node, is_terminal, refused
from tests.support.executor_gates import Gate
from tests.support.executor_graphs import chain, node, noops
from tests.support.executor_process import ExecutorDied, ExecutorProcess

SERVICE = "weftline.v1.WorkflowService"
DISK_BYTES = 4 << 20
WAIT_SECONDS = 20.0
POLL_SECONDS = 0.05


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leaves no space on it."""
        with self._ballast.open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"x" * 4096)
            except OSError:
                pass

    def free(self) -> None:
        """Gives the space back."""
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)], check=True, timeout=30)
    yield Disk(path)
    subprocess.run(["umount", str(path)], check=True, timeout=30)


@pytest.fixture
def process(disk: Disk, tmp_path: Path) -> Iterator[ExecutorProcess]:
    made = ExecutorProcess(tmp_path, {"DATA_DIR": str(disk.path / "data")})
    made.start()
    yield made
    made.close()


@pytest.fixture
async def client(process: ExecutorProcess) -> AsyncIterator[Client]:
    made = Client(process.address)
    yield made
    await made.channel.close()


async def health(client: Client, service: str) -> str:
    stub = health_pb2_grpc.HealthStub(client.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)  # type: ignore[attr-defined]
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def until_health(client: Client, wanted: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await health(client, SERVICE) != wanted:
            await asyncio.sleep(POLL_SECONDS)


def failures(process: ExecutorProcess) -> float:
    """How many commits the metrics say have failed."""
    families = text_string_to_metric_families(process.metrics())
    return next(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "weftline_executor_commit_failures_total"
    )


async def start_until_refused(client: Client) -> list[str]:
    """Starts runs until one finds no space; gives the workflows whose start was accepted."""
    accepted: list[str] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            name = f"more-{len(accepted)}"
            try:
                await client.start(chain(node("a", "set", values={"text": "x" * 20_000})), name)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return accepted
            accepted.append(name)


async def test_a_full_disk_refuses_runs_serves_what_is_there_and_goes_on_when_there_is_space(
    process: ExecutorProcess, client: Client, disk: Disk, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    done = await client.run(noops(3), "done")
    async with client.watch() as watch:
        await client.start(chain(node("a", "test.step", gate=str(gate)), node("b")))
        await watch.until(is_node("a", "running"))
        disk.fill()
        accepted = await start_until_refused(client)
        with refused(grpc.StatusCode.UNAVAILABLE, "store_unavailable") as refusal:
            await client.start(noops(1), "new")
        assert refusal.retry
        await until_health(client, "NOT_SERVING")
        assert await health(client, "") == "SERVING"
        assert failures(process) >= 1
        gate.open()
        assert await client.history("done") == done
        assert (await client.snapshot("done")).seq == done[-1].seq
        disk.free()
        await watch.until(is_terminal)
    await until_health(client, "SERVING")
    check_run(await client.history())
    for name in accepted:
        async with client.watch(name) as watch:
            if not (await client.snapshot(name)).HasField("ended_ms"):
                await watch.until(is_terminal)
        check_run(await client.history(name))
    assert await client.run(noops(1), "new")


async def test_an_executor_that_is_started_on_a_full_disk_serves_what_is_there(
    process: ExecutorProcess, client: Client, disk: Disk
) -> None:
    events = await client.run(noops(3))
    process.kill9()
    disk.fill()
    process.start()
    again = Client(process.address)
    assert await again.history() == events
    await start_until_refused(again)
    await until_health(again, "NOT_SERVING")
    disk.free()
    await until_health(again, "SERVING")
    assert await again.run(noops(1), "new")
    await again.channel.close()


async def test_an_executor_that_finds_no_space_to_open_its_log_says_so_and_leaves_it_alone(
    process: ExecutorProcess, client: Client, disk: Disk
) -> None:
    events = await client.run(noops(3))
    assert process.terminate() == 0
    disk.fill()
    with pytest.raises(ExecutorDied) as caught:
        process.start()
    said = caught.value.log.splitlines()[-1]
    assert caught.value.status == 1
    assert "is the disk full?" in said
    assert "backup" not in said
    disk.free()
    process.start()
    again = Client(process.address)
    assert await again.history() == events
    await again.channel.close()
