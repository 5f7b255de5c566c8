"""Measures the executor, the bare floor and other durable engines on the same graphs, and draws the claims from it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import services
from bench.claims import Claim, Outcome, Target, at_least, at_most, middle
from bench.engine import driver
from bench.engine.shapes import Work
from bench.machine import RESULTS
from bench.peers import install
from bench.processes import ProcessFailed, module, run_tool, running
from bench.report import progress

RUNS = 3
SHORT_RUNS = 10
"""How often the executor and the floor do what takes them a fraction of a second."""
OURS, FLOOR, DBOS, LANGGRAPH = "executor", "bare floor", "DBOS", "LangGraph"
_MIB = 1 << 20

Figures = dict[str, Any]
Runs = list[list[Figures]]
"""The runs of each piece of work."""

CHAIN, FAN_OUT, LAYERED = Work("chain", 500), Work("fan-out", 1_000), Work("layered", 1_000)
SMALL = Work("chain", 10, runs=200)
WARM_UP = Work("layered", 200)
HUGE, LARGE = Work("fan-out", 50_000), Work("fan-out", 1_000)
BODIES, FEW_BODIES = Work("map", 1_000), Work("map", 20)
THREE_STEPS = Work("chain", 3)
THREE_STEP_RUNS = 50
RATES = {CHAIN: 1_000, FAN_OUT: 15_000, LAYERED: 15_000, SMALL: 10_000}


def run(*, quick: bool) -> Outcome:
    """Measures all; `quick` with small graphs, once, for a look."""
    works = list(RATES)
    if quick:
        works = [Work("chain", 20), Work("fan-out", 50), Work("layered", 50), Work("chain", 3, runs=5)]
    times, often = (1, 1) if quick else (RUNS, SHORT_RUNS)
    found = {
        OURS: _ours(works, often),
        FLOOR: _floor(works, often),
        DBOS: _peer(DBOS, "bench.peers.dbos_engine", works, times),
        LANGGRAPH: _peer(LANGGRAPH, "bench.peers.langgraph_engine", works, times),
    }
    huge = LARGE if quick else HUGE
    large = _large(huge, LARGE)
    loop = FEW_BODIES if quick else BODIES
    bodies = _bodies(loop, times)
    small = _small(5 if quick else THREE_STEP_RUNS)
    claims = [
        claim
        for index, (work, kind) in enumerate(zip(works, RATES, strict=True))
        for claim in _claims(str(work), kind, {name: runs[index] for name, runs in found.items()})
    ]
    claims += _large_claims(huge, large) + _bodies_claims(loop, bodies) + _small_claims(small)
    figures = {
        **found,
        "executor, many nodes": large,
        "executor, bodies": bodies,
        "executor, three nodes": small,
    }
    voids = [f"{name}: {each['void']}" for name, runs in figures.items() for run in runs for each in run if _void(each)]
    return Outcome("engine", claims, figures, sorted(set(voids)))


def _void(figures: Figures) -> bool:
    return "void" in figures


def _values(runs: Sequence[Figures], name: str) -> list[float | None]:
    return [None if _void(figures) else float(figures[name]) for figures in runs]


def _cpu(runs: Sequence[Figures]) -> float | None:
    """CPU-seconds per 1,000 nodes over all runs together: a single one may be shorter than the clock's tick."""
    if any(_void(figures) for figures in runs):
        return None
    cpu, nodes = (sum(float(figures[name]) for figures in runs) for name in ("cpu", "nodes"))
    return cpu / nodes * 1000


def _claims(name: str, kind: Work, runs: dict[str, list[Figures]]) -> list[Claim]:
    def rate(engine: str) -> float | None:
        return middle(_values(runs[engine], "nodesPerSecond"))

    wide = kind is not CHAIN
    beside: list[tuple[str, Target | None]] = [
        (FLOOR, at_least(1 / 3) if wide else None),
        (DBOS, at_least(60) if wide else None),
        (LANGGRAPH, at_least(10) if wide else None),
    ]
    unit = "nodes/s"
    claims = [Claim(name, unit, "", rate(OURS), target=at_least(RATES[kind]))]
    claims += [Claim(name, unit, "", rate(OURS), peer, rate(peer), target) for peer, target in beside]
    claims.append(Claim(name, "CPU-s per 1,000 nodes", "", _cpu(runs[OURS]), target=at_most(0.07) if wide else None))
    if kind is LAYERED:
        waits = middle(_values(runs[OURS], "readyToStartP95Ms"))
        claims.append(Claim(name, "ready to start, p95", "ms", waits, target=at_most(5)))
    return claims


def _large_claims(work: Work, runs: Runs) -> list[Claim]:
    """What many nodes cost: memory, and whether a node costs the same in a run of many."""
    huge, few = runs
    load = str(work)
    peak = middle(_values(huge, "peakRss"))
    return [
        Claim(load, "nodes/s", "", middle(_values(huge, "nodesPerSecond")), target=at_least(15_000)),
        Claim(load, "most memory", "MiB", peak / _MIB if peak else None, target=at_most(150)),
        Claim(
            load,
            "CPU-s per 1,000 nodes",
            "",
            _cpu(huge),
            str(LARGE),
            _cpu(few),
            at_most(1.25),
        ),
    ]


def _bodies_claims(work: Work, runs: Runs) -> list[Claim]:
    """What a run of a body costs: an item is a run of a workflow of one node."""
    (each,) = runs
    load = f"{work.shape} over {work.size:,} items"
    return [
        Claim(load, "items/s", "", middle(_values(each, "nodesPerSecond"))),
        Claim(load, "CPU-s per 1,000 items", "", _cpu(each)),
    ]


def _small_claims(runs: Runs) -> list[Claim]:
    (three,) = runs
    seconds = middle(_values(three, "seconds"))
    return [
        Claim("run of three nodes", "p50", "ms", seconds * 1000 if seconds else None, target=at_most(15)),
        Claim(
            "run of three nodes", "first event, p50", "ms", middle(_values(three, "firstEventMs")), target=at_most(10)
        ),
    ]


def _ours(works: Sequence[Work], times: int) -> Runs:
    progress("engine: executor")
    return _in_folder(lambda folder: _drive(folder, [WARM_UP, *works], times)[1:], works)


def _large(huge: Work, few: Work) -> Runs:
    progress("engine: executor, many nodes")
    works = [huge, few]
    return _in_folder(lambda folder: _drive(folder, works, RUNS), works)


def _bodies(work: Work, times: int) -> Runs:
    progress("engine: executor, bodies")
    return _in_folder(lambda folder: _drive(folder, [WARM_UP, work], times)[1:], [work])


def _small(times: int) -> Runs:
    progress("engine: executor, three nodes")
    works = [THREE_STEPS]
    return _in_folder(lambda folder: _drive(folder, [WARM_UP, *works], times)[1:], works)


def _drive(folder: Path, works: Sequence[Work], times: int) -> Runs:
    with services.executor(folder) as (child, address):
        return _figures(module("bench.engine.driver"), driver.as_request(address, child.pid, times, works))


def _floor(works: Sequence[Work], times: int) -> Runs:
    progress("engine: bare floor")

    def measure(folder: Path) -> Runs:
        with running("floor", [*module("bench.engine.floor"), str(folder)], folder) as child:
            address = f"127.0.0.1:{child.first_line()['port']}"
            request = driver.as_request(address, child.pid, times, [WARM_UP, *works])
            return _figures(module("bench.engine.driver"), request)[1:]

    return _in_folder(measure, works)


def _peer(name: str, program: str, works: Sequence[Work], times: int) -> Runs:
    progress(f"engine: {name}")

    def measure(folder: Path) -> Runs:
        request = {"folder": str(folder), "times": times, "work": [asdict(work) for work in works]}
        return _figures([install.python_peers(), "-m", program], request)

    return _in_folder(measure, works)


def _figures(command: Sequence[str], request: dict[str, Any]) -> Runs:
    runs: Runs = run_tool(command, request, seconds=900)["figures"]
    return runs


def _in_folder(measure: Callable[[Path], Runs], works: Sequence[Work]) -> Runs:
    """Measures with a folder on the disk that the project is on; a failure voids every piece of work."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="data-", dir=RESULTS) as folder:
        try:
            runs = measure(Path(folder))
        except (ProcessFailed, install.PeersMissing) as error:
            return [[{"void": str(error)}] for _ in works]
    # What comes after a void piece of work was not tried.
    return runs + [[{"void": "not reached"}]] * (len(works) - len(runs))
