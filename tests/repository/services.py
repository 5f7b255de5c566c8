"""Both services as real processes on free ports, for tests that use them as a user does."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

START_SECONDS = 30.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


class ServiceDied(Exception):
    """A service ended before it was asked to; carries the end of its log."""

    def __init__(self, name: str, status: int, log: str) -> None:
        super().__init__(f"{name} ended with {status}:\n{log}")
        self.name, self.status, self.log = name, status, log


@dataclass(frozen=True, slots=True)
class Service:
    """One running service and where its log goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check_alive(self) -> None:
        """Raises ServiceDied when the service has ended."""
        status = self.process.poll()
        if status is not None:
            raise ServiceDied(self.name, status, self.log.read_text()[-4000:])

    def stop(self) -> int:
        """Asks the service to end and returns its exit status; kills it after a deadline and raises TimeoutExpired."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the services listen, each as HOST:PORT."""

    executor: str
    executor_metrics: str
    bridge: str
    bridge_metrics: str


def free_addresses() -> Addresses:
    """Picks four addresses on loopback that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Addresses(*(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets))


def wait_until(met: Callable[[], bool], service: Service, seconds: float = START_SECONDS) -> None:
    """Polls until a condition is met; raises ServiceDied when the service ends first, TimeoutError at the deadline."""
    deadline = time.monotonic() + seconds
    while not met():
        service.check_alive()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{service.name} took more than {seconds} s:\n{service.log.read_text()[-4000:]}")
        time.sleep(POLL_SECONDS)


def http_status(address: str, path: str) -> int | None:
    """The status that a GET is answered with; None when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=2) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def health(address: str, service: str = "") -> str | None:
    """The status that `grpc.health.v1` gives a service by name; None when nobody answers."""
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            response = check(health_pb2.HealthCheckRequest(service=service), timeout=2)
        except grpc.RpcError:
            return None
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


def start(name: str, folder: Path, settings: dict[str, str]) -> Service:
    """Starts `executor` or `bridge` with these settings and no others; its log goes to `folder`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WEFTLINE_")}
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"weftline_{name}"],
            env=environment | settings,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Service(name, process, log)


def executor_settings(addresses: Addresses, folder: Path) -> dict[str, str]:
    """The executor's settings for these addresses, its data below `folder`."""
    return {
        "WEFTLINE_EXECUTOR_LISTEN": addresses.executor,
        "WEFTLINE_EXECUTOR_METRICS_LISTEN": addresses.executor_metrics,
        "WEFTLINE_EXECUTOR_DATA_DIR": str(folder / "data"),
    }


def bridge_settings(addresses: Addresses) -> dict[str, str]:
    """The bridge's settings for these addresses."""
    return {
        "WEFTLINE_BRIDGE_LISTEN": addresses.bridge,
        "WEFTLINE_BRIDGE_METRICS_LISTEN": addresses.bridge_metrics,
        "WEFTLINE_BRIDGE_EXECUTOR": addresses.executor,
    }


@contextmanager
def running_services(folder: Path) -> Iterator[Addresses]:
    """Runs both services until the block ends, and fails unless each then ends with status 0."""
    addresses = free_addresses()
    started: list[Service] = []
    try:
        executor = start("executor", folder, executor_settings(addresses, folder))
        started.append(executor)
        wait_until(lambda: health(addresses.executor) == "SERVING", executor)
        bridge = start("bridge", folder, bridge_settings(addresses))
        started.append(bridge)
        wait_until(lambda: http_status(addresses.bridge, "/readyz") == 200, bridge)
        yield addresses
    finally:
        statuses = {service.name: service.stop() for service in reversed(started)}
    assert set(statuses.values()) == {0}, statuses
