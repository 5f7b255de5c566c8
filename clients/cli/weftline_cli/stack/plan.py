"""What a stack is to be: where its services listen and keep their data, and the environment that tells them so."""

import errno
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from weftline_cli.address import Address
from weftline_cli.errors import StackError

_TLS = tuple(f"WEFTLINE_{service}_TLS_" for service in ("EXECUTOR", "BRIDGE"))


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
            **_without_tls(inherited),
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
            **_without_tls(inherited),
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


def _without_tls(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the files of TLS: the services call each other on this machine."""
    return {name: value for name, value in inherited.items() if not name.startswith(_TLS)}


def unusable_listener(plan: StackPlan) -> StackError | None:
    """Return what is wrong with the first address that can't be listened on; None when all can."""
    used: dict[Address, str] = {}
    for option, address in plan.listeners():
        if address in used:
            message = f"{used[address]} and {option} are both {address}. Choose another for one of them."
            return StackError("address_used_twice", message)
        used[address] = option
        problem = _problem_with(address)
        if problem:
            code, words = problem
            return StackError(code, f"{address} {words}. Choose another with {option} HOST:PORT.")
    return None


def _problem_with(address: Address) -> tuple[str, str] | None:
    """Return the code of what keeps a service from listening there, and words about it; None when nothing does."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except socket.gaierror:
        return "address_unusable", "names no host that is known"
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "port_in_use", "is in use by another process"
        return "address_unusable", f"can't be listened on: {error.strerror}"
    return None
