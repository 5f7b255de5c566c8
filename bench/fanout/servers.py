"""Starts each server that is measured: Weftline's bridge behind a source of events, and its peers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import services
from bench.machine import client_core, server_core
from bench.peers import install, nginx
from bench.processes import module, running

BRIDGE = "bridge"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready: where clients connect, what they speak, where it is told to send, and its process."""

    port: int
    control: int
    pid: int
    dialect: str


Server = Callable[[Path], AbstractContextManager[Running]]


@contextmanager
def bridge(folder: Path) -> Iterator[Running]:
    """The bridge, fed over gRPC by a source that runs beside the clients."""
    with running("source", module("bench.fanout.source"), folder, core=client_core()) as source:
        found = source.first_line()
        with services.bridge(folder, f"127.0.0.1:{found['port']}", core=server_core()) as (child, port):
            yield Running(port, found["control"], child.pid, "weftline.v1")


@contextmanager
def _peer(name: str, command: list[str], dialect: str, folder: Path) -> Iterator[Running]:
    with running(name, command, folder, core=server_core()) as child:
        found = child.first_line()
        yield Running(found["port"], found["control"], child.pid, dialect)


def ws(folder: Path) -> AbstractContextManager[Running]:
    """The `ws` package on node; raises PeersMissing."""
    return _peer("ws", [install.node_peers(), str(install.HERE / "ws-server.mjs")], "websocket", folder)


def socket_io(folder: Path) -> AbstractContextManager[Running]:
    """The `socket.io` package on node; raises PeersMissing."""
    return _peer("socket.io", [install.node_peers(), str(install.HERE / "socketio-server.mjs")], "socket.io", folder)


def websockets(folder: Path) -> AbstractContextManager[Running]:
    """The `websockets` package on uvloop; raises PeersMissing."""
    command = [install.python_peers(), "-m", "bench.peers.websockets_server"]
    return _peer("websockets", command, "websocket", folder)


@contextmanager
def nchan(folder: Path) -> Iterator[Running]:
    """nginx with nchan, filled by a publisher that runs beside the clients; raises PeersMissing.

    What is measured is its one worker: the process that was started only watches over it.
    """
    with nginx.running_nchan(folder, core=server_core()) as (worker, port):
        command = [*module("bench.fanout.publisher"), str(port)]
        with running("publisher", command, folder, core=client_core()) as publisher:
            yield Running(port, publisher.first_line()["control"], worker, "websocket")


SERVERS: dict[str, Server] = {
    BRIDGE: bridge,
    "ws": ws,
    "socket.io": socket_io,
    "websockets": websockets,
    "nchan": nchan,
}
