"""Measures what thousands of idle clients cost the bridge, in both of its dialects, and its peers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.claims import Claim, Outcome, at_most, middle
from bench.fanout.servers import BRIDGE, SERVERS
from bench.machine import client_core, room_for_files
from bench.peers.install import PeersMissing
from bench.processes import ProcessFailed, module, run_tool
from bench.report import progress

CLIENTS = 10_000
RUNS = 3
PACE = 800.0
"""Connections a second: fewer than the bridge takes by default."""

DEADLINE_SECONDS = 300.0
MOST_KIB = 16
PLAIN = "websocket"

_QUICK_CLIENTS = 200
_KIB = 1024

Figures = dict[str, Any]


def run(*, quick: bool) -> Outcome:
    """Measures all servers in turns; `quick` with few clients, once, for a look."""
    clients, runs = (_QUICK_CLIENTS, 1) if quick else (CLIENTS, RUNS)
    peers = [server for server in SERVERS if server != BRIDGE]
    trials = {"weftline.v1": (BRIDGE, ""), "plain": (BRIDGE, PLAIN)} | {peer: (peer, "") for peer in peers}
    found: dict[str, list[Figures]] = {name: [] for name in trials}
    for number in range(runs):
        for name, (server, dialect) in trials.items():
            progress(f"idle: {clients:,} clients: {name}, run {number + 1} of {runs}")
            found[name].append(_once(server, dialect, clients))

    def kib(name: str) -> float | None:
        return middle(None if "void" in each else each["rssPerClient"] / _KIB for each in found[name])

    claims = []
    for dialect in ("weftline.v1", "plain"):
        load, ours = f"{clients:,} idle clients, {dialect}", kib(dialect)
        claims.append(Claim(load, "memory per client", "KiB", ours, target=at_most(MOST_KIB)))
        claims += [Claim(load, "memory per client", "KiB", ours, peer, kib(peer)) for peer in peers]
    voids = [f"{name}: {each['void']}" for name, all_runs in found.items() for each in all_runs if "void" in each]
    return Outcome("idle", claims, found, voids)


def _once(server: str, dialect: str, clients: int) -> Figures:
    """The figures of one server that was just started; `void` in them says why there are none."""
    with tempfile.TemporaryDirectory(prefix="weftline-bench-") as folder:
        try:
            room_for_files(clients)
            with SERVERS[server](Path(folder)) as running:
                request = {
                    "dialect": dialect or running.dialect,
                    "port": running.port,
                    "pid": running.pid,
                    "clients": clients,
                    "pace": PACE,
                }
                return run_tool(module("bench.idle.load"), request, core=client_core(), seconds=DEADLINE_SECONDS)
        except (ProcessFailed, PeersMissing, OSError) as error:
            return {"void": str(error)}
