"""Random runs for the killing tests: nodes of every class that leave marks, and what has to hold of marks and logs."""

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from weftline.v1 import events_pb2 as pb

LAYERS = 12
TYPES = ("delay", "delay", "test.step", "test.keyed", "test.unsafe", "test.flaky", "test.branch")
JOINS = (None, None, "one_success", "all_done", "none_failed")


def random_definition(random_: random.Random, marks: Path) -> str:
    """A layered graph of about a second, with branches, joins, retries and nodes of all classes."""
    layers = [[f"n{layer}-{place}" for place in range(random_.randint(1, 4))] for layer in range(LAYERS)]
    nodes = [_node(random_, name, marks) for layer in layers for name in layer]
    edges = [
        {"source": source, "target": target}
        for above, below in itertools.pairwise(layers)
        for target in below
        for source in random_.sample(above, min(len(above), random_.randint(1, 2)))
    ]
    return json.dumps({"nodes": nodes, "edges": edges, "config": {"concurrency": random_.randint(2, 8)}})


def _node(random_: random.Random, name: str, marks: Path) -> dict[str, Any]:
    node_type = random_.choice(
        ("delay", "delay", "test.step", "test.keyed", "test.unsafe", "test.flaky", "test.branch")
    )
    data: dict[str, Any] = {"marks": str(marks)}
    policy: dict[str, Any] = {}
    if node_type == "delay":
        data = {"seconds": random_.choice((0, 0.02, 0.05, 0.1))}
    elif node_type == "test.branch":
        data = {"handle": random_.choice(("left", "right"))}
    elif node_type == "test.flaky":
        data["failures"] = random_.randint(1, 2)
        policy["retry"] = {"attempts": 3, "delay": 0.05}
    if join := random_.choice(JOINS):
        policy["join"] = join
    return {"id": name, "type": node_type, "data": {**data, "policy": policy}}


def check_marks(definition: str, events: list[pb.Event], marks: Path) -> int:
    """Asserts that nothing ran twice that must not; gives how many attempts of `unsafe` nodes left a mark."""
    types = {node["id"]: node["type"] for node in json.loads(definition)["nodes"]}
    lines = [line.split() for line in marks.read_text().splitlines()] if marks.exists() else []
    unsafe = [(name, attempt) for name, attempt, _ in lines if types[name] == "test.unsafe"]
    twice = [attempt for attempt, count in Counter(unsafe).items() if count > 1]
    assert not twice, f"an attempt of an unsafe node ran twice: {twice}"
    keys: dict[str, set[str]] = {}
    for name, _, key in lines:
        keys.setdefault(name, set()).add(key)
    assert all(len(found) == 1 for found in keys.values()), keys
    started = {(e.node.node_id, str(e.node.attempt)) for e in events if e.node.status == pb.NODE_STATUS_RUNNING}
    assert set(unsafe) <= started, "an unsafe node ran before its start was durable"
    check_decisions(types, events)
    return len(unsafe)


def check_decisions(types: dict[str, str], events: list[pb.Event]) -> None:
    """Asserts that nodes succeed once, and that a person decided before each unsafe node that may have run began."""
    unknown: set[str] = set()
    succeeded: Counter[str] = Counter()
    for event in events:
        if event.HasField("workflow_resume"):
            assert event.workflow_resume.by.startswith("p-")
            unknown.clear()
        if not event.HasField("node"):
            continue
        name, status = event.node.node_id, event.node.status
        succeeded[name] += status == pb.NODE_STATUS_SUCCESS
        if types[name] != "test.unsafe":
            continue
        if status == pb.NODE_STATUS_PENDING and event.node.reason == "recovered":
            unknown.add(name)
        assert status != pb.NODE_STATUS_RUNNING or name not in unknown, f"nobody decided on {name}"
    assert max(succeeded.values(), default=0) <= 1, succeeded


def check_commands(events: list[pb.Event], answered: dict[str, int]) -> None:
    """Asserts that each command acted once at most, and what was answered exactly then and there."""
    caused: dict[str, list[int]] = {}
    for event in events:
        kind = event.WhichOneof("payload")
        if kind in ("workflow_pause", "workflow_resume", "workflow_stop"):
            by = getattr(event, kind).by
            if by.startswith("p-"):
                caused.setdefault(by, []).append(event.seq)
    assert all(len(seqs) == 1 for seqs in caused.values()), caused
    assert {by: [seq] for by, seq in answered.items()} == {by: caused.get(by) for by in answered}
