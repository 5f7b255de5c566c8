"""What every engine that is measured in a process of its own has in common; uses only the standard library.

It reads `{folder, times, work: [{shape, size, runs}]}` from standard input and prints `{figures: …}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bench.engine.shapes import Work


class Contender(Protocol):
    """An engine that runs graphs whose nodes do nothing."""

    def do(self, work: Work) -> int:
        """Does a piece of work; how many nodes ran."""


def compete(make: Callable[[Path], Contender]) -> dict[str, Any]:
    """Has the contender, which may write into the given folder, do what standard input asks for."""
    request = json.load(sys.stdin)
    contender = make(Path(request["folder"]))
    works = [Work(**each) for each in request["work"]]
    return {"figures": [[_once(contender, work) for _ in range(request["times"])] for work in works]}


def _once(contender: Contender, work: Work) -> dict[str, Any]:
    expected = len(work.graph().nodes) * work.runs
    cpu, started = time.process_time(), time.monotonic()
    nodes = contender.do(work)
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    if nodes != expected:
        return {"void": f"{nodes} of {expected} nodes ran"}
    return {
        "nodes": nodes,
        "seconds": seconds,
        "nodesPerSecond": nodes / seconds,
        "cpu": cpu,
    }
