"""Facts about what a definition gives when nothing is wrong with it."""

import json

import pytest

from tests.unit.executor.graph.canvas import Types, compiled, link, task
from weftline_executor.graph import Limits, compile_graph, node_ids
from weftline_executor.graph.definition import DECORATION, too_deep
from weftline_executor.graph.joins import DEFAULT_JOIN, RULES, Join

CANVAS = {
    "nodes": [
        {
            "id": "a",
            "type": "branch",
            "data": {"x": 1},
            "position": {"x": 0, "y": 0},
            "parentId": "g",
            "selected": True,
        },
        {"id": "g", "type": "group", "data": {"label": "Group"}},
        {"id": "b", "type": "task", "data": None},
        {"id": "c", "type": "task"},
    ],
    "edges": [
        {"id": "1", "source": "a", "target": "b", "sourceHandle": "left", "targetHandle": "in", "animated": True},
        {"id": "2", "source": "a", "target": "c", "sourceHandle": None, "targetHandle": None},
        {"id": "3", "source": "g", "target": "c"},
        {"id": "4", "source": "c", "target": "g"},
    ],
    "config": {
        "params": {"n": 1},
        "concurrency": 4,
        "failurePolicy": "continue",
        "onConflict": "attach",
        "labels": {"team": "x"},
    },
    "viewport": {"zoom": 1},
}


def test_a_canvas_becomes_a_graph_without_its_decoration() -> None:
    graph = compiled(CANVAS)
    assert [(node.id, node.type, dict(node.data), node.at) for node in graph.nodes] == [
        ("a", "branch", {"x": 1}, 0),
        ("b", "task", {}, 2),
        ("c", "task", {}, 3),
    ]
    assert [(e.source, e.target, e.source_handle, e.target_handle, e.at) for e in graph.edges] == [
        ("a", "b", "left", "in", 0),
        ("a", "c", "", "input", 1),
    ]
    config = graph.config
    assert (config.params, config.concurrency, config.labels) == ({"n": 1}, 4, {"team": "x"})
    assert (config.failure_policy, config.on_conflict) == ("continue", "attach")


def test_what_is_not_said_has_its_default() -> None:
    graph = compiled({"nodes": [task("a")]})
    config = graph.config
    assert (config.params, config.concurrency, config.labels) == ({}, 0, {})
    assert (config.failure_policy, config.on_conflict) == ("fail_fast", "reject")
    assert graph.nodes[0].join is DEFAULT_JOIN


def test_null_is_the_same_as_nothing() -> None:
    config = dict.fromkeys(("params", "concurrency", "failurePolicy", "onConflict", "labels"))
    policy = dict.fromkeys(("join", "retry", "timeout", "finally", "onError"))
    graph = compiled({"nodes": [task("a", policy=policy)], "edges": [], "config": config})
    assert graph.config == compiled({"nodes": [task("a")], "config": None}).config


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "n_of"])
def test_a_join_rule_is_read_by_its_name(rule: str) -> None:
    graph = compiled({"nodes": [task("a", policy={"join": rule})]})
    assert graph.nodes[0].join == Join(rule)


def test_a_join_of_so_many_is_read_with_its_number() -> None:
    nodes = [task("a"), task("b"), task("j", policy={"join": {"n_of": 2}})]
    graph = compiled({"nodes": nodes, "edges": [link("a", "j"), link("b", "j")]})
    assert graph.nodes[2].join == Join("n_of", 2)


@pytest.mark.parametrize("kind", sorted(DECORATION))
def test_decoration_of_every_kind_is_dropped_with_its_edges(kind: str) -> None:
    nodes = [task("a"), {"id": "n", "type": kind}, {"id": "m", "type": kind, "data": []}]
    graph = compiled({"nodes": nodes, "edges": [link("n", "a"), link("a", "m"), link("n", "m"), link("a", "n")]})
    assert ([node.id for node in graph.nodes], graph.edges) == (["a"], ())


def test_parallel_edges_stay_apart() -> None:
    graph = compiled({"nodes": [task("a"), task("b")], "edges": [link("a", "b"), link("a", "b")]})
    assert graph.incoming[1] == (0, 1)


def test_the_nodes_a_run_counts_can_be_named_without_their_types() -> None:
    text = json.dumps(CANVAS).encode()
    assert node_ids(text) == [node.id for node in compile_graph(text, Types(), Limits()).nodes]


@pytest.mark.parametrize(
    ("value", "levels"), [(1, 0), ([], 1), ({}, 1), ([[]], 2), ({"a": [{"b": 1}]}, 3), ([1, {"a": {}}], 3)]
)
def test_depth_is_counted_in_arrays_and_objects(value: object, levels: int) -> None:
    assert not too_deep(value, levels)
    if levels:
        assert too_deep(value, levels - 1)


def test_depth_is_found_without_recursion() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    assert too_deep(value)
