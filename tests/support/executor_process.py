"""The executor as a process of its own, on free ports and a directory of its own, which can be killed and restarted."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

ROOT = Path(__file__).resolve().parents[2]
TEST_NODES = "tests.support.test_nodes"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02


class ExecutorDied(Exception):
    """The executor ended before it was ready; carries its exit status and its log."""

    def __init__(self, status: int, log: str) -> None:
        super().__init__(f"the executor ended with {status}:\n{log}")
        self.status = status
        self.log = log


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ExecutorProcess:
    """An executor over `folder`: its data in `data`, its log in `executor.log`. The ports stay over restarts.

    `settings` are environment variables without their prefix, for example `{"CONCURRENCY": "2"}`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder / "executor.log"
        self.address = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        self.settings = {
            "LISTEN": self.address,
            "METRICS_LISTEN": self.metrics_address,
            "DATA_DIR": str(folder / "data"),
            "NODES": TEST_NODES,
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._running().pid

    def start(self) -> None:
        """Starts the process and waits until it is ready. Raises ExecutorDied, TimeoutError."""
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            status = self._running().poll()
            if status is not None:
                raise ExecutorDied(status, self.log.read_text()[-4000:])
            if time.monotonic() > deadline:
                self.kill9()
                raise TimeoutError(f"not ready after {START_SECONDS} s:\n{self.log.read_text()[-4000:]}")
            time.sleep(POLL_SECONDS)

    def launch(self) -> None:
        """Starts the process without waiting."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WEFTLINE_")}
        chosen = {f"WEFTLINE_EXECUTOR_{name}": value for name, value in self.settings.items()}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "weftline_executor"],
                env=inherited | {"PYTHONPATH": str(ROOT)} | chosen,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ready(self) -> bool:
        """Whether the health service says that it serves."""
        with grpc.insecure_channel(self.address) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                status = check(health_pb2.HealthCheckRequest(), timeout=1).status
            except grpc.RpcError:
                return False
        return bool(status == health_pb2.HealthCheckResponse.SERVING)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Waits for the end, gives the exit status; kills the process and raises TimeoutExpired when it takes long."""
        try:
            return self._running().wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise

    def terminate(self, signal_number: int = signal.SIGTERM) -> int:
        """Asks the process to end and gives its exit status."""
        self._running().send_signal(signal_number)
        return self.wait()

    def kill9(self) -> None:
        """Ends the process with no chance to do anything."""
        self._running().kill()
        self._running().wait()

    def restart(self) -> None:
        """Starts a process over the same directory; one that still runs is killed before."""
        if self._running().poll() is None:
            self.kill9()
        self.start()

    def close(self) -> None:
        """Leaves nothing running."""
        if self._process is not None and self._process.poll() is None:
            self.kill9()

    def metrics(self) -> str:
        """What the metrics endpoint says."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=5) as response:
            return str(response.read().decode())

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the executor was not started")
        return self._process


@contextmanager
def executor_process(folder: Path, **settings: str) -> Iterator[ExecutorProcess]:
    """A started executor over a folder, which is gone when the block ends."""
    process = ExecutorProcess(folder, {name.upper(): value for name, value in settings.items()})
    try:
        process.start()
        yield process
    finally:
        process.close()


@contextmanager
def log_locked(data: Path) -> Iterator[None]:
    """Nothing can be written to the log meanwhile."""
    with closing(sqlite3.connect(data / "events.sqlite3", isolation_level=None, timeout=5)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
