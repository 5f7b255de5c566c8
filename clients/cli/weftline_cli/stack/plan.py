"""What a stack is to be: where its services listen and keep their data, and the environment that tells them so."""

import errno
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from weftline_cli.errors import StackError, UsageError

_LOOPBACKS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - this is where to dial, not to listen


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens; `host` is without the brackets of IPv6."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, option: str) -> Self:
        """Read `HOST:PORT`; raises UsageError, naming `option`, when it is something else or the port is 0."""
        host, _, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not bare or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise UsageError(f"{option} takes HOST:PORT with a port from 1 to 65535, not {text!r}.")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dial(self) -> "Address":
        """Where to reach it from this machine: the loopback when it listens everywhere."""
        return Address(_LOOPBACKS.get(self.host, self.host), self.port)


@dataclass(frozen=True, slots=True)
class StackPlan:
    """Where everything is; `nodes` are the Python modules with node types that the executor loads."""

    data_dir: Path
    executor: Address
    executor_metrics: Address
    bridge: Address
    bridge_metrics: Address
    nodes: tuple[str, ...] = ()

    def executor_environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the executor; the plan goes before what is inherited."""
        environment = {
            **inherited,
            "WEFTLINE_EXECUTOR_LISTEN": str(self.executor),
            "WEFTLINE_EXECUTOR_METRICS_LISTEN": str(self.executor_metrics),
            "WEFTLINE_EXECUTOR_DATA_DIR": str(self.data_dir),
        }
        if self.nodes:
            environment["WEFTLINE_EXECUTOR_NODES"] = ",".join(self.nodes)
        return environment

    def bridge_environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the bridge; the plan goes before what is inherited."""
        return {
            **inherited,
            "WEFTLINE_BRIDGE_LISTEN": str(self.bridge),
            "WEFTLINE_BRIDGE_METRICS_LISTEN": str(self.bridge_metrics),
            "WEFTLINE_BRIDGE_EXECUTOR": str(self.executor.dial),
        }

    def listeners(self) -> Iterator[tuple[str, Address]]:
        """Yield every address with the option that sets it."""
        yield "--executor-listen", self.executor
        yield "--executor-metrics", self.executor_metrics
        yield "--bridge-listen", self.bridge
        yield "--bridge-metrics", self.bridge_metrics


def prepare_data_dir(data_dir: Path) -> Path:
    """Make the data directory with its `logs` and return the latter.

    Raises StackError when it can't be made or written.
    """
    logs = data_dir / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        raise StackError(
            f"The data directory {data_dir} can't be written: {error.strerror}. Choose another with --data-dir."
        ) from error
    return logs


def unusable_listener(plan: StackPlan) -> StackError | None:
    """Return what is wrong with the first address that can't be listened on; None when all can."""
    used: dict[Address, str] = {}
    for option, address in plan.listeners():
        if address in used:
            return StackError(f"{used[address]} and {option} are both {address}. Choose another for one of them.")
        used[address] = option
        problem = _problem_with(address)
        if problem:
            return StackError(f"{address} {problem}. Choose another with {option} HOST:PORT.")
    return None


def _problem_with(address: Address) -> str:
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except socket.gaierror:
        return "names no host that is known"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "is in use by another process"
        return f"can't be listened on: {error.strerror}"
    return ""
