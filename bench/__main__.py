"""`python -m bench [NAME …] [--quick]`: measures what is named, or all, prints a table, and keeps all figures."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine, report
from bench.claims import Outcome
from bench.engine import suite as engine
from bench.eta import suite as eta
from bench.fanout import suite as fanout
from bench.idle import suite as idle
from bench.isolation import suite as isolation
from bench.pipeline import suite as pipeline
from weftline_cli.errors import BadInstanceError

SUITES: dict[str, Callable[..., Outcome]] = {
    "engine": engine.run,
    "pipeline": pipeline.run,
    "fanout": fanout.run,
    "idle": idle.run,
    "eta": eta.run,
    "isolation": isolation.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmarks that are named, or all; 1 when a figure of Weftline's is void."""
    options = _parse(arguments)
    shape = machine.shape()
    if machine.busy():
        report.progress(f"the machine is in use (load {shape['loadBefore']}): the figures will be worse than they are")
    try:
        outcomes = [SUITES[name](quick=options.quick, **options.given.get(name, {})) for name in options.suites]
    except BadInstanceError as error:
        print(error, file=sys.stderr)
        return 2
    if options.quick:
        # Targets are for full loads; a small one says nothing about them.
        outcomes = [outcome.without_targets() for outcome in outcomes]
    path = report.write(outcomes, shape, options.results, quick=options.quick)
    if options.document is not None:
        report.document(outcomes, shape, options.document)
    print(report.table(outcomes))
    for outcome in outcomes:
        for note in outcome.notes:
            print(f"{outcome.name}: {note}")
    print(f"\nAll figures are in {path}.")
    return 1 if any(claim.verdict == "void" for outcome in outcomes for claim in outcome.claims) else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Weftline beside its peers.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="BENCHMARK",
        help=f"{', '.join(SUITES)}; all when none is named. With eta also files and directories of WfCommons instances",
    )
    parser.add_argument("--quick", action="store_true", help="small loads, once: to see that it works, not how fast")
    parser.add_argument(
        "--results", metavar="DIR", type=Path, default=machine.RESULTS, help="where figures are written"
    )
    parser.add_argument("--document", metavar="FILE", type=Path, help="Markdown document to put the table into")
    parser.add_argument(
        "--critical-path-seconds", metavar="S", type=float, help="eta: how long the critical path of a workflow takes"
    )
    options = parser.parse_args(arguments)
    options.suites = [name for name in options.names if name in SUITES] or list(SUITES)
    others = [name for name in options.names if name not in SUITES]
    unknown = [name for name in others if "eta" not in options.names or not Path(name).exists()]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]}; there are {', '.join(SUITES)}")
    options.given = {"eta": {"files": [Path(name) for name in others], "seconds": options.critical_path_seconds}}
    return options


if __name__ == "__main__":
    # So that what runs ends, and scratch folders go, when somebody ends the measurement.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
