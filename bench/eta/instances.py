"""The workflows that are run: recorded ones of WfCommons, brought to one length, or some that are made up."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.eta.schedule import Edge, critical_path, makespan
from bench.report import progress
from weftline_cli.errors import BadInstanceError
from weftline_cli.wfformat.convert import to_workflow
from weftline_cli.wfformat.instance import read_instance

SLOTS = 256
"""How many nodes the executor runs at once."""

_SEED = 7


@dataclass(frozen=True, slots=True)
class Instance:
    """A workflow whose nodes are delays of known seconds; `slots` is how many may run at once."""

    name: str
    definition: str
    durations: Sequence[float]
    edges: Sequence[Edge]
    slots: int

    @property
    def bound(self) -> float:
        """How long list scheduling takes for it, in seconds."""
        return makespan(self.durations, self.edges, self.slots)


def recorded(paths: Sequence[Path], seconds: float) -> list[Instance]:
    """Instances of WfCommons from files and directories, each scaled so that its critical path takes `seconds`.

    Raises BadInstanceError for a file that is none; in a directory such a file is passed over.
    """
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(_recorded(path, seconds))
            continue
        for each in sorted(path.glob("*.json")):
            try:
                found.append(_recorded(each, seconds))
            except BadInstanceError as error:
                progress(f"eta: passed over: {error}")
    return found


def _recorded(path: Path, seconds: float) -> Instance:
    source = str(path)
    try:
        instance = read_instance(path.read_bytes(), source)
    except OSError as error:
        raise BadInstanceError(source, "", f"it can't be read: {error.strerror}.") from error
    runtimes = [task.runtime_s or 0.0 for task in instance.tasks]
    longest = critical_path(runtimes, instance.dependencies)
    workflow = to_workflow(instance, source, seconds / longest if longest else 1.0)
    durations = [float(node["data"]["seconds"]) for node in workflow["nodes"]]
    return Instance(path.stem, json.dumps(workflow), durations, instance.dependencies, SLOTS)


def made(seconds: float) -> list[Instance]:
    """A layered graph without and with a limit on nodes at once, and a chain, of about `seconds` each."""
    chooser = random.Random(_SEED)
    layers, width = 8, 25
    edges = [
        (layer * width + parent, (layer + 1) * width + at)
        for layer in range(layers - 1)
        for at in range(width)
        for parent in chooser.sample(range(width), 2)
    ]
    uneven = [chooser.uniform(0.1, 2.0) for _ in range(layers * width)]
    links = [(at, at + 1) for at in range(19)]
    return [
        _made("layered of 200", uneven, edges, SLOTS, seconds),
        _made("layered of 200, 8 at once", uneven, edges, 8, seconds),
        _made("chain of 20", [chooser.uniform(0.1, 2.0) for _ in range(20)], links, SLOTS, seconds),
    ]


def _made(name: str, relative: Sequence[float], edges: Sequence[Edge], slots: int, seconds: float) -> Instance:
    scale = seconds / makespan(relative, edges, slots)
    durations = [round(duration * scale, 6) for duration in relative]
    nodes = [{"id": f"n{at}", "type": "delay", "data": {"seconds": each}} for at, each in enumerate(durations)]
    lines = [{"id": f"e{at}", "source": f"n{a}", "target": f"n{b}"} for at, (a, b) in enumerate(edges)]
    config = {"concurrency": slots} if slots < SLOTS else {}
    return Instance(name, json.dumps({"nodes": nodes, "edges": lines, "config": config}), durations, edges, slots)
