"""Measures how many events a second go from an executor through the bridge to one client."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import services
from bench.claims import Claim, Outcome, at_least, at_most, middle
from bench.fanout import servers, trial
from bench.fanout.plans import Plan
from bench.machine import client_core, server_core
from bench.processes import ProcessFailed, module, run_tool
from bench.report import progress

RUNS = 3
FROM_SOURCE = "source → bridge → one client"
FROM_EXECUTOR = "executor → bridge → one client"
# The window is less than what the bridge queues for one client: who falls further behind is disconnected.
PLAN = Plan(400_000, 200, window=2_000)
QUICK_PLAN = Plan(10_000, 200, window=2_000)
DEADLINE_SECONDS = 120.0

Figures = dict[str, Any]


def run(*, quick: bool) -> Outcome:
    """Measures the bridge alone, and behind a real executor; `quick` once and with few events, for a look."""
    runs: dict[str, list[Figures]] = {FROM_SOURCE: [], FROM_EXECUTOR: []}
    count = 1 if quick else RUNS
    for number in range(count):
        progress(f"pipeline: {FROM_SOURCE}, run {number + 1} of {count}")
        runs[FROM_SOURCE].append(_from_source(QUICK_PLAN if quick else PLAN))
        progress(f"pipeline: {FROM_EXECUTOR}, run {number + 1} of {count}")
        runs[FROM_EXECUTOR].append(_from_executor(runs=2 if quick else 10, nodes=200 if quick else 2_000))

    def claim(load: str, measure: str, unit: str, read: Callable[[Figures], float], target: Any = None) -> Claim:
        values = [None if "void" in figures else read(figures) for figures in runs[load]]
        return Claim(load, measure, unit, middle(values), target=target)

    claims = [
        claim(FROM_SOURCE, "events/s", "", lambda each: each["eventsPerSecond"], at_least(300_000)),
        claim(FROM_SOURCE, "bridge CPU per event", "µs", lambda each: each["cpuPerMillionDeliveries"], at_most(2.5)),
        claim(FROM_EXECUTOR, "events/s", "", lambda each: each["eventsPerSecond"]),
        claim(FROM_EXECUTOR, "bridge CPU per event", "µs", lambda each: each["bridgeCpuMicrosecondsPerEvent"]),
        claim(FROM_EXECUTOR, "executor CPU per event", "µs", lambda each: each["executorCpuMicrosecondsPerEvent"]),
    ]
    voids = [f"{load}: {each['void']}" for load, found in runs.items() for each in found if "void" in each]
    return Outcome("pipeline", claims, runs, voids)


def _from_source(plan: Plan) -> Figures:
    return trial.once(servers.bridge, plan, clients=1, sample=0, dialect="weftline.v1 counted")


def _from_executor(runs: int, nodes: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="weftline-bench-") as name:
        folder = Path(name)
        try:
            with (
                services.executor(folder, core=server_core()) as (executor, address),
                services.bridge(folder, address, core=client_core()) as (bridge, port),
            ):
                request = {
                    "address": address,
                    "port": port,
                    "executor": executor.pid,
                    "bridge": bridge.pid,
                    "runs": runs,
                    "nodes": nodes,
                    "seconds": DEADLINE_SECONDS,
                }
                return run_tool(module("bench.pipeline.through"), request, core=client_core())
        except ProcessFailed as error:
            return {"void": str(error)}
