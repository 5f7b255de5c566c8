"""Facts about validation: each fault has a path, a code and a sentence, and all are found at once."""

import json
from itertools import pairwise
from typing import Any

import pytest

from tests.unit.executor.graph.canvas import Types, codes, faults, link, task
from weftline_executor.errors import Fault, InvalidWorkflow
from weftline_executor.graph import Limits, compile_graph
from weftline_executor.graph.validate import MAX_FAULTS
from weftline_executor.nodes import Registry


def canvas(*nodes: Any, edges: list[Any] | None = None, **config: Any) -> dict[str, Any]:
    """A definition."""
    return {"nodes": list(nodes), "edges": edges or [], "config": config}


def deep(levels: int) -> Any:
    """A value that nests this deep."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


NODE, EDGE = "nodes[0]", "edges[0]"
PAIR = (task("a"), task("b"))
FAULTS: dict[str, tuple[object, str, str, str]] = {
    "not_json": ("{", "", "invalid_json", "the definition is not JSON"),
    "nothing": ("", "", "invalid_json", "the definition is not JSON"),
    "utf8": (b'{"nodes": "\xff"}', "", "invalid_json", "the definition is not JSON"),
    "surrogate": ('{"nodes": "\\ud800"}', "", "invalid_json", "the definition is not JSON"),
    "bottomless": ("[" * 100_000, "", "too_deep", "nests too deep"),
    "array": ([], "", "wrong_type", "is a JSON object"),
    "nodes_object": ({"nodes": {}}, "nodes", "wrong_type", "nodes is an array"),
    "edges_null": ({"nodes": [task("a")], "edges": None}, "edges", "wrong_type", "edges is an array"),
    "no_nodes": ({}, "nodes", "empty", "at least one node"),
    "only_notes": (canvas(task("n", "note")), "nodes", "empty", "at least one node"),
    "node_text": (canvas("a", task("b")), NODE, "wrong_type", "a node is a JSON object, not a string"),
    "node_null": (canvas(None, task("b")), NODE, "wrong_type", "not null"),
    "id_missing": (canvas({"type": "task"}, task("b")), f"{NODE}.id", "invalid_id", "1 to 256 characters"),
    "id_number": (canvas({"id": 1, "type": "task"}, task("b")), f"{NODE}.id", "invalid_id", "is a string"),
    "id_empty": (canvas(task(""), task("b")), f"{NODE}.id", "invalid_id", "1 to 256 characters"),
    "id_long": (canvas(task("x" * 257), task("b")), f"{NODE}.id", "invalid_id", "1 to 256 characters"),
    "type_missing": (canvas({"id": "a"}), f"{NODE}.type", "missing_field", "a node needs a type"),
    "type_number": (canvas({"id": "a", "type": 3}), f"{NODE}.type", "missing_field", "a node needs a type"),
    "data_array": (canvas({"id": "a", "type": "task", "data": []}), f"{NODE}.data", "wrong_type", "not an array"),
    "data_true": (canvas({"id": "a", "type": "task", "data": True}), f"{NODE}.data", "wrong_type", "not a boolean"),
    "data_deep": (canvas(task("a", x=deep(64))), f"{NODE}.data", "too_deep", "deeper than 64 levels"),
    "type_unknown": (canvas(task("a", "tasc")), f"{NODE}.type", "unknown_node_type", "did you mean 'task'?"),
    "type_off": (canvas(task("a", "forbidden")), f"{NODE}.type", "node_type_disabled", "'forbidden' is off"),
    "type_strange": (canvas(task("a", "zzz")), f"{NODE}.type", "unknown_node_type", "there is no node type 'zzz'"),
    "setting": (canvas(task("a", faults=["url"])), f"{NODE}.data.url", "invalid_value", "url is wrong"),
    "duplicate": (canvas(task("a"), task("a")), "nodes[1].id", "duplicate_id", "nodes[0] has the id 'a' too"),
    "note_duplicate": (canvas(task("a"), task("a", "note")), "nodes[1].id", "duplicate_id", "nodes[0] has the id"),
    "duplicate_note": (canvas(task("a", "note"), task("a"), task("b")), "nodes[1].id", "duplicate_id", "nodes[0]"),
    "policy": (canvas(task("a", policy=1)), f"{NODE}.data.policy", "wrong_type", "not a number"),
    "policy_key": (canvas(task("a", policy={"x": 1})), f"{NODE}.data.policy.x", "unknown_key", "no key 'x'"),
    "retry": (canvas(task("a", policy={"retry": 3})), f"{NODE}.data.policy.retry", "wrong_type", "retry is true, or"),
    "retry_key": (canvas(task("a", policy={"retry": {"x": 1}})), f"{NODE}.data.policy.retry.x", "unknown_key", "'x'"),
    "attempts": (
        canvas(task("a", policy={"retry": {"attempts": 0}})),
        *(f"{NODE}.data.policy.retry.attempts", "invalid_value", "1 to 1000"),
    ),
    "factor": (
        canvas(task("a", policy={"retry": {"factor": 0.5}})),
        *(f"{NODE}.data.policy.retry.factor", "invalid_value", "number of 1 to"),
    ),
    "timeout": (
        canvas(task("a", policy={"timeout": 0})),
        f"{NODE}.data.policy.timeout",
        "invalid_value",
        "more than 0",
    ),
    "idle": (
        canvas(task("a", policy={"timeout": {"idle": "1"}})),
        *(f"{NODE}.data.policy.timeout.idle", "invalid_value", "is a number"),
    ),
    "finally": (canvas(task("a", policy={"finally": 1})), f"{NODE}.data.policy.finally", "wrong_type", "true or false"),
    "finally_leads_on": (
        canvas(task("a", policy={"finally": True}), task("b"), edges=[{"source": "a", "target": "b"}]),
        *("edges[0]", "finally_leads_on", "make that a finally node too"),
    ),
    "on_error": (
        canvas(task("a", policy={"onError": "shrug"})),
        *(f"{NODE}.data.policy.onError", "invalid_value", "one of fail, fail_branch, pause"),
    ),
    "error_handle": (
        canvas(task("a"), task("b"), edges=[{"source": "a", "target": "b", "sourceHandle": "error"}]),
        *("edges[0].sourceHandle", "undeclared_handle", "'error'"),
    ),
    "join": (canvas(task("a", policy={"join": "some"})), f"{NODE}.data.policy.join", "invalid_value", "all_success"),
    "join_bare": (canvas(task("a", policy={"join": "n_of"})), f"{NODE}.data.policy.join", "invalid_value", "n_of"),
    "n_of_zero": (
        canvas(task("a", policy={"join": {"n_of": 0}})),
        f"{NODE}.data.policy.join",
        "invalid_value",
        "k >= 1",
    ),
    "n_of_true": (canvas(task("a", policy={"join": {"n_of": True}})), f"{NODE}.data.policy.join", "invalid_value", "k"),
    "n_of_many": (
        canvas(task("a", policy={"join": {"n_of": 2}}), task("b"), edges=[link("b", "a")]),
        *(f"{NODE}.data.policy.join", "invalid_value", "n_of is 2, but the number of edges to this node is 1"),
    ),
    "edge_text": (canvas(*PAIR, edges=["a>b"]), EDGE, "wrong_type", "an edge is a JSON object, not a string"),
    "source_missing": (canvas(*PAIR, edges=[{"target": "b"}]), f"{EDGE}.source", "missing_field", "source is the id"),
    "target_number": (canvas(*PAIR, edges=[link("a", 3)]), f"{EDGE}.target", "missing_field", "target is the id"),
    "source_gone": (
        canvas(*PAIR, edges=[link("x", "b")]),
        f"{EDGE}.source",
        "dangling_edge",
        "no node with the id 'x'",
    ),
    "target_gone": (
        canvas(*PAIR, edges=[link("a", "x")]),
        f"{EDGE}.target",
        "dangling_edge",
        "no node with the id 'x'",
    ),
    "handle_number": (
        canvas(*PAIR, edges=[link("a", "b", sourceHandle=1)]),
        *(f"{EDGE}.sourceHandle", "wrong_type", "a handle is a string, not a number"),
    ),
    "handle_unknown": (
        canvas(task("a", "branch"), task("b"), edges=[link("a", "b", sourceHandle="up")]),
        *(f"{EDGE}.sourceHandle", "undeclared_handle", "no output handle 'up'; it has left, right"),
    ),
    "edge_id": (
        canvas(*PAIR, edges=[link("a", "b", id="e"), link("a", "b", id="e")]),
        *("edges[1].id", "duplicate_id", "edges[0] has the id 'e' too"),
    ),
    "loop": (canvas(task("a"), edges=[link("a", "a")]), NODE, "cycle", "a → a"),
    "reference_unknown": (
        canvas(task("a", names=["x"])),
        *(f"{NODE}.data.value", "unknown_reference", "names 'x', but there is no such node"),
    ),
    "reference_itself": (canvas(task("a", names=["a"])), f"{NODE}.data.value", "not_an_ancestor", "not upstream"),
    "reference_beside": (
        canvas(task("a", names=["b"]), task("b")),
        *(f"{NODE}.data.value", "not_an_ancestor", "names 'b', but it is not upstream of this node"),
    ),
    "reference_below": (
        canvas(task("a", names=["b"]), task("b"), edges=[link("a", "b")]),
        *(f"{NODE}.data.value", "not_an_ancestor", "not upstream"),
    ),
    "input_unknown": (
        canvas(task("a"), task("b", reads=["input", "left"]), edges=[link("a", "b")]),
        *("nodes[1].data.value", "unknown_handle", "reads the input 'left', to which no edge leads"),
    ),
    "config": ({"nodes": [task("a")], "config": 1}, "config", "wrong_type", "not a number"),
    "config_key": (canvas(task("a"), x=1), "config.x", "unknown_key", "config has no key 'x'"),
    "deadline": (canvas(task("a"), deadline=0), "config.deadline", "invalid_value", "more than 0"),
    "params": (canvas(task("a"), params=[1]), "config.params", "wrong_type", "params is a JSON object"),
    "params_deep": (canvas(task("a"), params={"x": deep(64)}), "config.params", "wrong_type", "at most 64 levels"),
    "labels": (canvas(task("a"), labels={"x": 1}), "config.labels", "wrong_type", "object of strings"),
    "policy_word": (
        canvas(task("a"), failurePolicy="x"),
        "config.failurePolicy",
        "invalid_value",
        "fail_fast, continue",
    ),
    "conflict": (canvas(task("a"), onConflict=[]), "config.onConflict", "invalid_value", "reject, replace, attach"),
    **{
        f"concurrency_{value}": (
            canvas(task("a"), concurrency=value),
            *("config.concurrency", "invalid_value", "whole number of at least 1"),
        )
        for value in (0, -1, True, 1.5, "2")
    },
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_says_where_what_and_why(case: str) -> None:
    definition, path, code, words = FAULTS[case]
    found = faults(definition)
    assert [(fault.path, fault.code) for fault in found] == [(path, code)]
    assert words in found[0].message


def test_all_faults_of_a_definition_are_told_at_once() -> None:
    nodes = [task("a", "nope"), task("b", names=["zz"]), task("c"), {"id": "d"}, task("c")]
    edges = [link("a", "x"), link("b", "c"), link("c", "b"), 7]
    assert codes(canvas(*nodes, edges=edges, concurrency=0)) == [
        ("nodes[0].type", "unknown_node_type"),
        ("nodes[2]", "cycle"),
        ("nodes[3].type", "missing_field"),
        ("nodes[4].id", "duplicate_id"),
        ("edges[0].target", "dangling_edge"),
        ("edges[3]", "wrong_type"),
        ("config.concurrency", "invalid_value"),
    ]


def test_a_bad_setting_does_not_hide_what_is_wrong_with_handles_and_expressions() -> None:
    nodes = (task("a", "branch", faults=["url"], names=["zz", "b"]), task("b"))
    assert codes(canvas(*nodes, edges=[link("a", "b", sourceHandle="up")])) == [
        ("nodes[0].data.url", "invalid_value"),
        ("nodes[0].data.value", "unknown_reference"),
        ("nodes[0].data.value", "not_an_ancestor"),
        ("edges[0].sourceHandle", "undeclared_handle"),
    ]


def test_a_duplicate_id_does_not_hide_what_else_is_wrong_with_its_node() -> None:
    nodes = (task("a"), task("a", "tasc"), task("a", faults=["url"], names=["zz"]), task("n", "note"), task("n", "zzz"))
    assert codes(canvas(*nodes)) == [
        ("nodes[1].id", "duplicate_id"),
        ("nodes[1].type", "unknown_node_type"),
        ("nodes[2].id", "duplicate_id"),
        ("nodes[2].data.url", "invalid_value"),
        ("nodes[2].data.value", "unknown_reference"),
        ("nodes[4].id", "duplicate_id"),
        ("nodes[4].type", "unknown_node_type"),
    ]


def test_faults_are_told_in_the_order_of_their_items_not_of_their_digits() -> None:
    nodes = [task(f"n{at}", "nope" if at in (2, 10) else "task") for at in range(11)]
    edges = [link("n0", "x") if at in (2, 10) else link("n0", "n1") for at in range(11)]
    assert [fault.path for fault in faults(canvas(*nodes, edges=edges, x=1))] == [
        *("nodes[2].type", "nodes[10].type", "edges[2].target", "edges[10].target", "config.x"),
    ]


@pytest.mark.parametrize(("ends", "key"), [(("ghost", "n"), "source"), (("n", "ghost"), "target")])
def test_an_edge_between_a_note_and_a_missing_node_is_dangling(ends: tuple[str, str], key: str) -> None:
    definition = canvas(task("a"), task("n", "note"), edges=[link(*ends), link("a", "n"), link("n", "n")])
    assert codes(definition) == [(f"edges[0].{key}", "dangling_edge")]


def test_a_fault_of_the_data_as_a_whole_has_its_path() -> None:
    assert codes(canvas(task("a", faults=[""]))) == [("nodes[0].data", "invalid_value")]


def test_every_cycle_is_named_on_its_own() -> None:
    nodes = [task(name) for name in "abcdef"]
    edges = [link(*pair) for pair in ("ab", "bc", "ca", "cd", "de", "ed", "ef")]
    found = faults(canvas(*nodes, edges=edges))
    assert [(fault.code, fault.message) for fault in found] == [
        ("cycle", "these nodes wait for one another: b → c → a → b"),
        ("cycle", "these nodes wait for one another: e → d → e"),
    ]


def test_a_long_cycle_is_named_by_its_beginning() -> None:
    ids = [f"n{at}" for at in range(100)]
    edges = [link(ids[at], ids[(at + 1) % 100]) for at in range(100)]
    message = faults(canvas(*map(task, ids), edges=edges))[0].message
    assert message.endswith("…")
    assert message.count("→") == 20


def test_more_faults_than_can_be_shown_are_counted_and_no_suggestion_is_sought_for_them() -> None:
    types = Types()
    text = json.dumps(canvas(*(task(f"n{at}", f"tas{at}") for at in range(MAX_FAULTS + 500))))
    with pytest.raises(InvalidWorkflow) as caught:
        compile_graph(text, types, Limits())
    assert len(caught.value.faults) == MAX_FAULTS + 1
    assert caught.value.faults[-1] == Fault("", "too_many_faults", "500 more faults are not listed")
    assert types.suggested == MAX_FAULTS


def test_limits_on_nodes_edges_and_bytes_hold_exactly() -> None:
    text = json.dumps(canvas(*PAIR, edges=[link("a", "b")]))
    assert codes(text, Limits(2, 1, len(text))) == []
    assert codes(text, Limits(1, 0, len(text))) == [("nodes", "too_many"), ("edges", "too_many")]
    assert codes(text, Limits(2, 1, len(text) - 1)) == [("", "too_large")]


def test_decoration_counts_towards_the_limit_of_nodes() -> None:
    assert codes(canvas(task("a"), task("n", "note")), Limits(max_nodes=1)) == [("nodes", "too_many")]


def test_a_join_is_not_blamed_for_an_edge_that_is_wrong() -> None:
    nodes = (task("a", policy={"join": {"n_of": 2}}), task("b"))
    assert codes(canvas(*nodes, edges=[link("b", "a"), link("c", "a")])) == [("edges[1].source", "dangling_edge")]


def test_expressions_may_name_any_ancestor_however_far() -> None:
    ids = [f"n{at}" for at in range(300)]
    edges = [link(first, second) for first, second in pairwise(ids)]
    nodes = [task(name) for name in ids[:-1]] + [task(ids[-1], names=ids[:-1])]
    assert codes(canvas(*nodes, edges=edges)) == []


def test_references_that_take_too_long_to_check_are_a_fault_of_their_own() -> None:
    ids = [f"n{at}" for at in range(50)]
    edges = [link(first, second) for first, second in pairwise(ids)]
    definition = canvas(*(task(name) for name in ids[:-1]), task(ids[-1], names=ids[:-1]), edges=edges)
    assert codes(definition, Limits(max_reference_steps=100)) == [("", "too_complex")]
    assert codes(definition, Limits(max_reference_steps=10_000)) == []


AGENT_FLOW = {
    "nodes": [
        {
            "id": "startAgentflow_0",
            "type": "agentFlow",
            "position": {"x": -250, "y": 90},
            "data": {"id": "startAgentflow_0", "label": "Start", "name": "startAgentflow", "inputs": {"state": ""}},
            "width": 101,
            "selected": False,
        },
        {"id": "note_0", "type": "stickyNote", "position": {"x": 0, "y": 0}, "data": {"label": "Read me"}},
        {"id": "llm_0", "type": "agentFlow", "data": {"name": "llmAgentflow", "inputs": {"model": "x"}}},
    ],
    "edges": [{"id": "e", "type": "agentFlow", "source": "startAgentflow_0", "target": "llm_0", "data": {"a": 1}}],
    "viewport": {"x": 0, "y": 0, "zoom": 1},
}
TYPED_BY_DATA = {
    "nodes": [
        {"id": "1700000000001", "type": "custom", "data": {"type": "start", "title": "Start", "variables": []}},
        {"id": "1700000000002", "type": "custom", "data": {"type": "llm", "title": "Ask"}},
        {"id": "1700000000003", "type": "custom-note", "data": {"text": "{}"}},
    ],
    "edges": [
        {
            "id": "1700000000001-source-1700000000002-target",
            **{
                "source": "1700000000001",
                "sourceHandle": "source",
                "target": "1700000000002",
                "targetHandle": "target",
            },
        }
    ],
}


@pytest.mark.parametrize(
    ("flow", "bad"), [(AGENT_FLOW, [0, 2]), (TYPED_BY_DATA, [0, 1])], ids=["agent_flow", "typed_by_data"]
)
def test_a_canvas_of_another_product_is_refused_by_its_node_types_only(flow: object, bad: list[int]) -> None:
    with pytest.raises(InvalidWorkflow) as caught:
        compile_graph(json.dumps(flow), Registry.with_builtins(), Limits())
    found = [(fault.path, fault.code) for fault in caught.value.faults]
    assert found == [(f"nodes[{at}].type", "unknown_node_type") for at in bad]
