"""A WfCommons instance becomes a workflow of the same shape, or an error that says where it is wrong."""

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_cli.errors import BadInstanceError
from weftline_cli.wfformat.convert import safe_ids, to_workflow
from weftline_cli.wfformat.instance import read_instance
from weftline_cli.wfformat.layout import CycleError, levels, positions

SHAPE = {"a": [], "b": ["a"], "c": ["a"], "d.1": ["b", "c"]}


def instance(shape: dict[str, list[str]], *, runtimes: bool = True, children: bool = True) -> dict[str, Any]:
    """An instance whose tasks have these parents; it says each dependency at both ends, or at the child's only."""
    tasks = [
        {
            "id": task,
            "name": f"name of {task}",
            "parents": parents,
            "children": [other for other in shape if task in shape[other]] if children else [],
        }
        for task, parents in shape.items()
    ]
    workflow: dict[str, Any] = {"specification": {"tasks": tasks}}
    if runtimes:
        executed = [{"id": task, "runtimeInSeconds": 1.5 * at} for at, task in enumerate(shape, 1)]
        workflow["execution"] = {"makespanInSeconds": 1, "executedAt": "now", "tasks": executed}
    return {"name": "sample", "schemaVersion": "1.5", "workflow": workflow}


def converted(body: Any, time_scale: float = 1.0) -> dict[str, Any]:
    return to_workflow(read_instance(json.dumps(body).encode(), "sample.json"), "sample.json", time_scale)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    count = draw(st.integers(min_value=1, max_value=15))
    return {
        f"t{at}": [f"t{parent}" for parent in range(at) if draw(st.booleans())] for at in range(count)
    }  # fmt: skip


def test_a_task_becomes_a_delay_of_its_scaled_runtime_with_its_name_as_label() -> None:
    nodes = converted(instance(SHAPE), 0.5)["nodes"]
    assert [(node["type"], node["data"]) for node in nodes[:2]] == [
        ("delay", {"label": "name of a", "seconds": 0.75}),
        ("delay", {"label": "name of b", "seconds": 1.5}),
    ]


def test_a_time_scale_of_0_makes_noops_and_needs_no_runtimes() -> None:
    nodes = converted(instance(SHAPE, runtimes=False), 0)["nodes"]
    assert {node["type"] for node in nodes} == {"noop"}
    assert all("seconds" not in node["data"] for node in nodes)


@given(graphs(), st.booleans())
def test_every_dependency_becomes_one_edge_whichever_end_says_it(shape: dict[str, list[str]], both: bool) -> None:
    workflow = converted(instance(shape, children=both))
    edges = Counter((edge["source"], edge["target"]) for edge in workflow["edges"])
    assert edges == Counter((parent, task) for task, parents in shape.items() for parent in parents)
    assert len({edge["id"] for edge in workflow["edges"]}) == len(workflow["edges"])


@given(graphs())
def test_nodes_are_drawn_right_of_their_parents_and_never_on_one_another(shape: dict[str, list[str]]) -> None:
    workflow = converted(instance(shape))
    at = {node["id"]: (node["position"]["x"], node["position"]["y"]) for node in workflow["nodes"]}
    assert len(set(at.values())) == len(at)
    assert all(at[edge["source"]][0] < at[edge["target"]][0] for edge in workflow["edges"])


@given(st.lists(st.text(max_size=120), max_size=20))
def test_ids_are_unlike_each_other_and_identifiers(names: list[str]) -> None:
    ids = safe_ids(names)
    assert len(ids) == len(names) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", each) for each in ids)


def test_ids_that_are_safe_already_stay_as_they_are() -> None:
    assert safe_ids(["mProject_ID0000001", "b.1", "b_1", "9"]) == ["mProject_ID0000001", "b_1", "b_1_2", "n_9"]


def test_the_level_is_the_longest_way_from_a_root() -> None:
    assert levels(4, [(0, 1), (1, 2), (0, 2), (0, 3)]) == [0, 1, 2, 1]
    assert [x for x, _ in positions(2, [(1, 0)])] == [260, 0]


def test_a_cycle_is_named_in_the_order_of_its_edges() -> None:
    with pytest.raises(CycleError) as caught:
        levels(4, [(0, 1), (1, 2), (2, 3), (3, 1)])
    cycle = caught.value.nodes
    assert sorted(cycle) == [1, 2, 3]
    assert cycle[(cycle.index(1) + 1) % 3] == 2
    with pytest.raises(BadInstanceError, match="in a cycle: a → a"):
        converted(instance({"a": ["a"]}))


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    body = instance(SHAPE)
    inner: Any = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return body


TASKS = ("workflow", "specification", "tasks")


@pytest.mark.parametrize(
    ("body", "path", "problem"),
    [
        ([], "", "JSON object"),
        (changed("schemaVersion", to="2.0"), "schemaVersion", "'2.0' is not known; known: 1.5"),
        (changed("workflow", to=None), "workflow", "wrong type"),
        (changed(*TASKS, to=[]), "workflow.specification.tasks", "empty"),
        (changed(*TASKS, 1, to=7), "workflow.specification.tasks[1]", "an object"),
        (changed(*TASKS, 1, "id", to=""), "workflow.specification.tasks[1].id", "a non-empty string"),
        (changed(*TASKS, 1, "id", to="a"), "workflow.specification.tasks[1].id", "'a' is the id of another task"),
        (changed(*TASKS, 2, "parents", to=["ghost"]), "workflow.specification.tasks[2].parents", "no task 'ghost'"),
        (changed(*TASKS, 2, "children", to=None), "workflow.specification.tasks[2].children", "an array"),
        (
            changed("workflow", "execution", "tasks", 0, "runtimeInSeconds", to=-1),
            "workflow.execution.tasks[0].runtimeInSeconds",
            "not -1",
        ),
        (changed("workflow", "execution", "tasks", to=[]), "workflow.execution.tasks", "--time-scale 0"),
    ],
)
def test_a_malformed_instance_is_refused_with_the_place_and_the_problem(body: Any, path: str, problem: str) -> None:
    with pytest.raises(BadInstanceError) as caught:
        converted(body)
    assert caught.value.path == path
    assert problem in caught.value.problem


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(BadInstanceError, match=r"sample\.json: it is not JSON"):
        read_instance(b"{", "sample.json")
