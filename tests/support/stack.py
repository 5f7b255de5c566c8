"""Both services as real processes on fixed ports, which a test can kill and start again."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class ServiceProcess:
    """One service: started, killed, started again with the same settings; its log is appended to one file."""

    def __init__(self, module: str, settings: dict[str, str], log: Path) -> None:
        self._module = module
        self._settings = settings
        self._log = log
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def change(self, **settings: str) -> None:
        """Has the next start be with these settings, too."""
        self._settings = {**self._settings, **settings}

    async def start(self) -> None:
        """Starts the process, without waiting until it serves."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WEFTLINE_")}
        environment = {**inherited, "PYTHONPATH": str(ROOT), **self._settings}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, env=environment, stdout=log, stderr=log
            )

    async def kill(self) -> None:
        """Ends the process as a power cut would."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """Asks the process to end and gives its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"{self._module} did not end on {number.name}:\n{self.log()}") from None

    def check_alive(self) -> None:
        """Fails when the process has ended by itself."""
        if self._process is None or self._process.returncode is not None:
            raise AssertionError(f"{self._module} has ended:\n{self.log()}")

    def log(self) -> str:
        """The end of the log."""
        return self.whole_log()[-4000:]

    def whole_log(self) -> str:
        """All that it has logged, over all its starts."""
        return self._log.read_text()


class Stack:
    """An executor and a bridge over one data directory."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.folder = directory
        grpc_port, grpc_metrics, self.bridge_port, bridge_metrics = free_ports(4)
        self.executor_at = "127.0.0.1", grpc_port
        self.executor_address = f"127.0.0.1:{grpc_port}"
        self.executor_metrics = f"http://127.0.0.1:{grpc_metrics}/metrics"
        self.bridge_metrics = f"http://127.0.0.1:{bridge_metrics}/metrics"
        self.http = f"http://127.0.0.1:{self.bridge_port}"
        self.executor = ServiceProcess(
            "weftline_executor",
            {
                "WEFTLINE_EXECUTOR_LISTEN": self.executor_address,
                "WEFTLINE_EXECUTOR_METRICS_LISTEN": f"127.0.0.1:{grpc_metrics}",
                "WEFTLINE_EXECUTOR_DATA_DIR": str(directory / "data"),
                **settings,
            },
            directory / "executor.log",
        )
        self.bridge = ServiceProcess(
            "weftline_bridge",
            {
                "WEFTLINE_BRIDGE_LISTEN": f"127.0.0.1:{self.bridge_port}",
                "WEFTLINE_BRIDGE_METRICS_LISTEN": f"127.0.0.1:{bridge_metrics}",
                "WEFTLINE_BRIDGE_EXECUTOR": self.executor_address,
                **settings,
            },
            directory / "bridge.log",
        )

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[WorkflowServiceStub]:
        """A gRPC client of the executor."""
        async with grpc.aio.insecure_channel(self.executor_address) as channel:
            yield WorkflowServiceStub(channel)

    async def executor_ready(self) -> None:
        """Waits until the executor serves."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                self.executor.check_alive()
                try:
                    async with grpc.aio.insecure_channel(self.executor_address) as channel:
                        health = health_pb2_grpc.HealthStub(channel)
                        request = health_pb2.HealthCheckRequest()
                        answer = await health.Check(request, timeout=2)  # type: ignore[attr-defined]
                        if answer.status == health_pb2.HealthCheckResponse.SERVING:
                            return
                except grpc.aio.AioRpcError:
                    pass
                await asyncio.sleep(POLL_SECONDS)

    async def bridge_ready(self) -> None:
        """Waits until the bridge serves and has reached the executor."""
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while True:
                self.bridge.check_alive()
                try:
                    async with session.get(f"{self.http}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def running_stack(directory: Path, **settings: str) -> AsyncIterator[Stack]:
    """Both services, ready; ended at the end of the block, however it ends."""
    async with running(Stack(directory, **settings)) as stack:
        yield stack


@asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[Stack]:
    """The same with services that were put together before."""
    try:
        await stack.executor.start()
        await stack.bridge.start()
        await stack.executor_ready()
        await stack.bridge_ready()
        yield stack
    finally:
        await stack.bridge.kill()
        await stack.executor.kill()
