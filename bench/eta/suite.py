"""Measures how far off the time to go is that the executor tells, and its schedules beside the list schedule."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import services
from bench.claims import Claim, Outcome, at_most, middle
from bench.eta.instances import SLOTS, Instance, made, recorded
from bench.machine import client_core, server_core
from bench.processes import ProcessFailed, module, run_tool
from bench.report import progress

RUNS = 3
SECONDS, QUICK_SECONDS = 20.0, 2.0
PEER = "list schedule"

Figures = dict[str, Any]


def run(*, quick: bool, files: Sequence[Path] = (), seconds: float | None = None) -> Outcome:
    """Runs the workflows in `files`, or some that are made up, each long enough for a critical path of `seconds`."""
    length = seconds or (QUICK_SECONDS if quick else SECONDS)
    instances = recorded(files, length) if files else made(length)
    times = 1 if quick else RUNS
    found: dict[str, list[Figures]] = {}
    claims: list[Claim] = []
    for instance in instances:
        runs = found[instance.name] = []
        for number in range(times):
            progress(f"eta: {instance.name}, run {number + 1} of {times}")
            runs.append(_once(instance))
        claims += _claims(instance, runs)
    voids = [f"{name}: {each['void']}" for name, runs in found.items() for each in runs if "void" in each]
    return Outcome("eta", claims, found, voids)


def _claims(instance: Instance, runs: Sequence[Figures]) -> list[Claim]:
    def value(name: str) -> float | None:
        return middle(None if "void" in figures else float(figures[name]) for figures in runs)

    load = instance.name
    return [
        Claim(load, "ETA off, median, % of the run", "", value("errorOfTotalPercent"), target=at_most(15)),
        Claim(load, "ETA off, p95, % of the run", "", value("errorOfTotalP95Percent")),
        Claim(load, "ETA off, median, % of what was left", "", value("errorOfLeftPercent"), target=at_most(15)),
        Claim(load, "from start to end", "s", value("seconds"), PEER, instance.bound, at_most(1.05)),
    ]


def _once(instance: Instance) -> Figures:
    """One run on an executor of its own, which so knows nothing from before."""
    with tempfile.TemporaryDirectory(prefix="weftline-bench-") as name:
        folder = Path(name)
        settings = {"WEFTLINE_EXECUTOR_CONCURRENCY": str(SLOTS)}
        try:
            with services.executor(folder, core=server_core(), settings=settings) as (_, address):
                limit = 60 + 3 * instance.bound
                request = {"address": address, "definition": instance.definition, "seconds": limit}
                return run_tool(module("bench.eta.driver"), request, core=client_core(), seconds=limit + 30)
        except ProcessFailed as error:
            return {"void": str(error)}
