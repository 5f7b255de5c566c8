"""One measurement of one server: starts it afresh, connects the clients, runs the plan once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.fanout.plans import Plan
from bench.fanout.servers import Running, Server
from bench.machine import client_core
from bench.peers.install import PeersMissing
from bench.processes import ProcessFailed, module, run_tool

DEADLINE_SECONDS = 120.0


def once(server: Server, plan: Plan, *, clients: int, sample: int, dialect: str = "") -> dict[str, Any]:
    """The figures of one run (see `load.measure`); `void` in them says why there are none."""
    with tempfile.TemporaryDirectory(prefix="weftline-bench-") as folder:
        try:
            with server(Path(folder)) as running:
                return _load(running, plan, clients, sample, dialect or running.dialect)
        except (ProcessFailed, PeersMissing) as error:
            return {"void": str(error)}


def _load(running: Running, plan: Plan, clients: int, sample: int, dialect: str) -> dict[str, Any]:
    request = {
        "dialect": dialect,
        "port": running.port,
        "control": running.control,
        "pid": running.pid,
        "clients": clients,
        "sample": sample,
        "plan": plan.as_json(),
        "seconds": DEADLINE_SECONDS,
    }
    return run_tool(module("bench.fanout.load"), request, core=client_core(), seconds=2 * DEADLINE_SECONDS)
