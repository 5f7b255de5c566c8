"""Facts about expressions that a node evaluates for each item of a list."""

from typing import Annotated

import jsonschema
import pytest

from weftline_executor.nodes import (
    BadDeclaration,
    ConfigInvalid,
    Context,
    ExpressionFailed,
    ItemExpression,
    PerItem,
    Scope,
    node,
)
from weftline_executor.nodes.expressions import compile_item
from weftline_executor.nodes.testing import RecordingSink, make_context

SCOPE = Scope(nodes={"a": {"output": {"limit": 10}}}, inputs={"input": 1}, params={"names": ["Ada", "Bob"]})


@node("items.map", isolation="inline")
def map_items(
    ctx: Context, items: list[object], each: Annotated[ItemExpression, PerItem()], note: str = ""
) -> list[object]:
    return [each.of(item, index) for index, item in enumerate(items)]


def mapped(each: str, items: list[object]) -> object:
    data: dict[str, object] = {"items": items, "each": each}
    assert map_items.node_type.check(data) == []
    prepared = map_items.node_type.prepare(data)
    return prepared.call(make_context(RecordingSink()), prepared.bind(SCOPE), {})


@pytest.mark.parametrize(
    ("each", "values"),
    [
        ("item", [1, 20]),
        ("item * 2 + index", [2, 41]),
        ("{{ item * 2 }}", [2, 40]),
        ("item > nodes.a.output.limit", [False, True]),
        ("params.names[index]", ["Ada", "Bob"]),
        ("inputs.input + item", [2, 21]),
        ("{'n': item}", [{"n": 1}, {"n": 20}]),
    ],
)
def test_an_expression_sees_each_item_its_index_and_what_all_expressions_see(each: str, values: list[object]) -> None:
    assert mapped(each, [1, 20]) == values
    assert mapped(each, []) == []


def test_one_call_serves_many_runs() -> None:
    prepared = map_items.node_type.prepare({"items": [1], "each": "item + params.n"})
    for number in (1, 2):
        kwargs = prepared.bind(Scope(params={"n": number}))
        assert prepared.call(make_context(RecordingSink()), kwargs, {}) == [1 + number]


def test_the_nodes_that_it_reads_are_known() -> None:
    data: dict[str, object] = {"items": [], "each": "item in nodes.a.output and nodes['b'].output"}
    assert [(each.path, each.node_id) for each in map_items.node_type.references(data)] == [
        ("each", "a"),
        ("each", "b"),
    ]


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        ("itm > 1", "did you mean item?"),
        ("name", "there are nodes, inputs, params, run, item and index"),
        ("item >", "unexpected"),
        ("{{ item }} or so", "nothing around its braces"),
        ("{% if item %}", "statements"),
        ("nodes", "nodes is not a value by itself"),
        ("", "Expected"),
    ],
)
def test_what_is_no_such_expression_is_a_fault_before_it_runs(each: str, reason: str) -> None:
    faults = map_items.node_type.check({"items": [], "each": each})
    assert [(fault.path, fault.code) for fault in faults] == [("each", "bad_expression")]
    assert reason.lower() in faults[0].message.lower()


@pytest.mark.parametrize("each", [3, None, [], {"item": 1}])
def test_what_is_no_text_is_a_fault(each: object) -> None:
    faults = map_items.node_type.check({"items": [], "each": each})
    assert [(fault.path, fault.code) for fault in faults] == [("each", "wrong_type")]
    with pytest.raises(ConfigInvalid):
        map_items.node_type.prepare({"items": [], "each": each}).bind(SCOPE)


def test_other_expressions_do_not_see_items() -> None:
    faults = map_items.node_type.check({"items": [], "each": "item", "note": "{{ item }}"})
    assert [(fault.path, fault.code) for fault in faults] == [("note", "bad_expression")]


def test_a_failure_names_the_index_and_the_setting() -> None:
    with pytest.raises(ExpressionFailed, match="`each`: at the item with index 1: the object has no key 'price'"):
        mapped("item.price", [{"price": 1}, {"prize": 2}])


def test_all_evaluations_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weftline_executor.nodes.items.MAX_ITEM_WORK", 100_000)
    each = ItemExpression(compile_item("item + 1"), SCOPE, "each")
    assert [each.of(number, number) for number in range(50)] == list(range(1, 51))
    with pytest.raises(ExpressionFailed, match="take too long together"):
        [each.of(number, number) for number in range(200)]


def test_it_is_not_taken_to_a_process() -> None:
    def go_over(ctx: Context, each: Annotated[ItemExpression, PerItem()]) -> None: ...

    with pytest.raises(BadDeclaration, match="cannot be taken to a process"):
        node("items.process", isolation="process")(go_over)


def test_the_schema_says_that_it_is_an_expression() -> None:
    schema = map_items.node_type.config_schema
    jsonschema.validate({"items": [1], "each": "item"}, schema)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["each"]["format"] == "expression"
