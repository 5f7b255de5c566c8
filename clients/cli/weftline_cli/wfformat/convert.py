"""Turns a WfCommons instance into a workflow: a node a task, an edge a dependency, laid out for a canvas."""

import re
from collections.abc import Iterable
from typing import Any, Final

from weftline_cli.errors import BadInstanceError
from weftline_cli.wfformat.instance import Instance, Task
from weftline_cli.wfformat.layout import CycleError, positions

MAX_ID: Final = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")


def to_workflow(instance: Instance, source: str, time_scale: float) -> dict[str, Any]:
    """Return the workflow of an instance: each task a `delay` of its runtime times `time_scale`, or a `noop` for 0.

    Raises BadInstanceError, naming `source`, when the dependencies have a cycle or a runtime is needed and not there.
    """
    edges = instance.dependencies
    try:
        places = positions(len(instance.tasks), edges)
    except CycleError as error:
        names = " → ".join(instance.tasks[at].id for at in (*error.nodes, error.nodes[0]))
        raise BadInstanceError(source, "workflow.specification.tasks", f"they depend in a cycle: {names}.") from error
    ids = safe_ids(task.id for task in instance.tasks)
    nodes = [
        {"id": node_id, "position": {"x": x, "y": y}, **_work(task, source, time_scale)}
        for node_id, task, (x, y) in zip(ids, instance.tasks, places, strict=True)
    ]
    lines = [
        {"id": f"e{at}", "source": ids[parent], "target": ids[child]} for at, (parent, child) in enumerate(edges, 1)
    ]
    return {"nodes": nodes, "edges": lines, "config": {}}


def safe_ids(names: Iterable[str]) -> list[str]:
    """Return an id for each name, in order: an identifier of at most 100 characters, unlike all others."""
    taken: set[str] = set()
    ids: list[str] = []
    for name in names:
        base = _UNSAFE.sub("_", name)[:MAX_ID]
        if not base or base[0].isdigit():
            base = f"n_{base}"[:MAX_ID]
        candidate, number = base, 1
        while candidate in taken:
            number += 1
            suffix = f"_{number}"
            candidate = base[: MAX_ID - len(suffix)] + suffix
        taken.add(candidate)
        ids.append(candidate)
    return ids


def _work(task: Task, source: str, time_scale: float) -> dict[str, Any]:
    if time_scale == 0:
        return {"type": "noop", "data": {"label": task.name}}
    if task.runtime_s is None:
        problem = f"there is no runtime of task {task.id!r}; --time-scale 0 does without."
        raise BadInstanceError(source, "workflow.execution.tasks", problem)
    return {"type": "delay", "data": {"label": task.name, "seconds": round(task.runtime_s * time_scale, 6)}}
