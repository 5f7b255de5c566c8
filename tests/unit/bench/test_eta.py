"""The list schedule that runs are held against is one, and what an estimate was off by is counted right."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.eta.driver import Sample, figures
from bench.eta.instances import made, recorded
from bench.eta.schedule import critical_path, makespan, tails
from weftline_cli.errors import BadInstanceError

Graph = tuple[list[float], list[tuple[int, int]]]
DIAMOND = [(0, 1), (0, 2), (1, 3), (2, 3)]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 14))
    pairs = [(parent, child) for child in range(count) for parent in range(child)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return [float(draw(st.integers(0, 50))) for _ in range(count)], edges


def wfformat(runtimes: dict[str, float], edges: list[tuple[str, str]]) -> dict[str, Any]:
    """A WfCommons instance with these tasks and dependencies."""
    tasks = [
        {
            "id": name,
            "name": name,
            "parents": [a for a, b in edges if b == name],
            "children": [b for a, b in edges if a == name],
        }
        for name in runtimes
    ]
    executed = [{"id": name, "runtimeInSeconds": runtime} for name, runtime in runtimes.items()]
    workflow = {"specification": {"tasks": tasks}, "execution": {"tasks": executed}}
    return {"name": "sample", "schemaVersion": "1.5", "workflow": workflow}


@pytest.mark.parametrize(("slots", "expected"), [(1, 85.0), (2, 65.0), (9, 65.0)])
def test_a_diamond_takes_its_sum_on_one_slot_and_its_longest_path_on_two(slots: int, expected: float) -> None:
    assert makespan([10.0, 50.0, 20.0, 5.0], DIAMOND, slots) == expected
    assert tails([10.0, 50.0, 20.0, 5.0], DIAMOND) == [65.0, 55.0, 25.0, 5.0]


def test_the_ready_node_with_the_longest_path_ahead_goes_first() -> None:
    assert makespan([1.0, 1.0, 9.0], [(1, 2)], 1) == 11.0
    assert makespan([3.0, 3.0, 1.0, 9.0], [(2, 3)], 2) == 10.0


@given(graphs(), st.integers(1, 5))
def test_the_schedule_keeps_to_grahams_bounds(graph: Graph, slots: int) -> None:
    durations, edges = graph
    found, longest, work = makespan(durations, edges, slots), critical_path(durations, edges), sum(durations)
    assert max(longest, work / slots) - 1e-9 <= found <= work / slots + longest * (slots - 1) / slots + 1e-9
    assert makespan(durations, edges, len(durations)) == pytest.approx(longest)


def test_an_instance_is_scaled_so_that_its_critical_path_takes_what_was_asked(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(wfformat({"a": 100.0, "b": 300.0, "c": 20.0}, [("a", "b"), ("a", "c")])))
    (tmp_path / "schema.json").write_text("{}")
    (instance,) = recorded([tmp_path], 2.0)
    assert instance.name == "sample"
    assert list(instance.durations) == [0.5, 1.5, 0.1]
    assert critical_path(instance.durations, instance.edges) == instance.bound == 2.0
    assert [node["data"]["seconds"] for node in json.loads(instance.definition)["nodes"]] == [0.5, 1.5, 0.1]
    with pytest.raises(BadInstanceError, match="schemaVersion"):
        recorded([tmp_path / "schema.json"], 2.0)


def test_the_workflows_that_are_made_up_take_what_was_asked_and_one_is_limited() -> None:
    instances = made(2.0)
    assert [instance.bound for instance in instances] == pytest.approx([2.0] * len(instances), rel=1e-3)
    assert {json.loads(instance.definition)["config"].get("concurrency") for instance in instances} == {None, 8}


def test_what_an_estimate_was_off_by_counts_from_20_percent_on() -> None:
    samples = [
        Sample(1_100, 0.1, 5_000),
        Sample(1_400, 0.4, 500),
        Sample(1_500, 0.5, None),
        Sample(1_800, 0.8, 100),
        Sample(2_000, 1.0, None),
    ]
    found = figures(samples, 1_000, 2_000)
    assert (found["samples"], found["withoutEstimate"], found["seconds"]) == (3, 1, 1.0)
    assert found["errorOfTotalPercent"] == pytest.approx(10.0)
    assert found["errorOfLeftPercent"] == pytest.approx((100 / 6 + 50) / 2)


def test_a_run_that_never_told_an_estimate_is_void() -> None:
    assert "void" in figures([Sample(1_500, 0.5, None)], 1_000, 2_000)
