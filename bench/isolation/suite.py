"""Measures how late events of a hundred quiet runs come while a node of another run blocks, crashes or eats memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import services
from bench.claims import Claim, Outcome, at_most, least
from bench.isolation.driver import QUIET, Request
from bench.processes import ProcessFailed, module, run_tool
from bench.report import progress

RUNS = 3
KINDS = {
    "bad.thread_block": "a thread that waits",
    "bad.thread_spin": "a thread that computes",
    "bad.process_spin": "a process that computes",
    "bad.process_crash": "processes that crash",
    "bad.process_eat": "processes that eat memory",
    "bad.async_block": "a coroutine that blocks",
}
TARGET = at_most(2)

Figures = dict[str, Any]


def run(*, quick: bool) -> Outcome:
    """Measures all kinds; `quick` with few runs for a second each, for a look."""
    found: list[dict[str, Figures]] = []
    times = 1 if quick else RUNS
    for number in range(times):
        progress(f"isolation: run {number + 1} of {times}")
        found.append(
            _once(10, 2.0, {"WEFTLINE_EXECUTOR_BLOCKED_LOOP_SECONDS": "0.5"}) if quick else _once(100, 8.0, {})
        )
    claims = [
        Claim(load, f"{what}, {percent}", "ms", _best(found, kind, key), QUIET, _best(found, QUIET, key), target)
        for kind, load in KINDS.items()
        for what, name in (("end of a wait", "end"), ("event to watcher", "travel"))
        for percent, key, target in (("p50", f"{name}P50Ms", None), ("p99", f"{name}P99Ms", TARGET))
    ]
    voids = [f"{phase}: {each['void']}" for phases in found for phase, each in phases.items() if "void" in each]
    return Outcome("isolation", claims, {"runs": found}, voids)


def _best(found: list[dict[str, Figures]], phase: str, key: str) -> float | None:
    return least(phases.get(phase, {}).get(key) for phases in found)


def _once(runs: int, seconds: float, more: Mapping[str, str]) -> dict[str, Figures]:
    """One executor, not bound to a core: where its worker processes run is what is asked."""
    settings = {"WEFTLINE_EXECUTOR_NODES": "bench.isolation.bad_nodes", "WEFTLINE_EXECUTOR_LOG_LEVEL": "error", **more}
    with tempfile.TemporaryDirectory(prefix="weftline-bench-") as name:
        try:
            with services.executor(Path(name), settings=settings) as (_, address):
                request = Request(address, runs, seconds, [QUIET, *KINDS])
                answer: dict[str, dict[str, Figures]] = run_tool(module("bench.isolation.driver"), asdict(request))
                return answer["phases"]
        except ProcessFailed as error:
            return {QUIET: {"void": str(error)}}
