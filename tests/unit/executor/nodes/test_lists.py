"""Facts about `filter` and `aggregate`: what they keep, what they make of it, and what they refuse."""

import json
import math
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.nodes import ConfigInvalid, ExpressionFailed, NodeFailed, Registry, Scope
from weftline_executor.nodes.builtin.aggregates import Aggregate, aggregate, group
from weftline_executor.nodes.builtin.conditions import Condition, all_of
from weftline_executor.nodes.builtin.fields import MISSING, identity, steps_of, value_at
from weftline_executor.nodes.testing import RecordingSink, make_context

REGISTRY = Registry.with_builtins()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, -0.0])
    | st.sampled_from(["", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab0"), inner, max_size=3),
    max_leaves=6,
)
PATHS = st.sampled_from(["", "a", "b", "a.b", "a.0", "0", "0.a", "a.b.0"])
NUMBERS = st.integers(-(2**40), 2**40) | st.floats(-1e15, 1e15)
ITEMS: list[object] = [
    {"n": 1, "t": "one", "l": [1, "x"], "o": {"k": True}},
    {"n": 2.5, "t": "two", "l": [], "o": {}},
    {"n": None, "t": None, "l": None},
    {},
]


def run(type_name: str, scope: Scope | None = None, **data: Any) -> Any:
    """Check, bind and call a node, and give its output."""
    node_type = REGISTRY.get(type_name)
    assert node_type is not None
    assert node_type.check(data) == []
    scope = scope or Scope()
    prepared = node_type.prepare(data)
    return prepared.call(make_context(RecordingSink()), prepared.bind(scope), scope.inputs)


def faults(type_name: str, **data: Any) -> list[tuple[str, str]]:
    node_type = REGISTRY.get(type_name)
    assert node_type is not None
    return [(fault.path, fault.code) for fault in node_type.check(data)]


def kept(*conditions: dict[str, Any], match: str = "all") -> list[int]:
    """The indexes of the items for which the conditions hold."""
    found = run("filter", where=list(conditions), items=ITEMS, match=match)
    return [ITEMS.index(item) for item in found]


@pytest.mark.parametrize(
    ("condition", "indexes"),
    [
        ({"field": "n", "op": "==", "value": 1.0}, [0]),
        ({"field": "n", "value": 1}, [0]),
        ({"field": "o.k", "value": 1}, []),
        ({"field": "n", "op": "==", "value": None}, [2]),
        ({"field": "n", "op": "!=", "value": 1}, [1, 2, 3]),
        ({"field": "n", "op": ">", "value": 1}, [1]),
        ({"field": "n", "op": ">=", "value": 1}, [0, 1]),
        ({"field": "n", "op": "<", "value": 2}, [0]),
        ({"field": "t", "op": "<=", "value": "p"}, [0]),
        ({"field": "t", "op": "contains", "value": "w"}, [1]),
        ({"field": "l", "op": "contains", "value": 1}, [0]),
        ({"field": "l", "op": "contains", "value": True}, []),
        ({"field": "o", "op": "contains", "value": "k"}, [0]),
        ({"field": "n", "op": "in", "value": [1, None]}, [0, 2]),
        ({"field": "n", "op": "in", "value": []}, []),
        ({"field": "n", "op": "exists"}, [0, 1, 2]),
        ({"field": "n", "op": "exists", "value": False}, [3]),
        ({"field": "t", "op": "startswith", "value": "t"}, [1]),
        ({"field": "t", "op": "endswith", "value": "e"}, [0]),
        ({"field": "l.1", "value": "x"}, [0]),
        ({"field": "l.2", "op": "exists"}, []),
        ({"op": "contains", "value": "o"}, [0, 1]),
    ],
)
def test_a_condition_keeps_the_items_for_which_it_holds(condition: dict[str, Any], indexes: list[int]) -> None:
    assert kept(condition) == indexes


def test_all_conditions_hold_or_any() -> None:
    conditions = ({"field": "n", "op": ">", "value": 1}, {"field": "t", "value": "one"})
    assert kept(*conditions) == []
    assert kept(*conditions, match="any") == [0, 1]
    assert kept() == [0, 1, 2, 3]
    assert kept(match="any") == []


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            {"field": "t", "op": ">", "value": 1},
            "`t` of the item with index 0 is text, which > cannot compare with a number",
        ),
        ({"field": "n", "op": "<", "value": "1"}, "is a number, which < cannot compare with text"),
        ({"field": "o.k", "op": ">", "value": 0}, "is a boolean, which > cannot compare with a number"),
        ({"field": "n", "op": "contains", "value": 1}, "is a number, which cannot contain a number"),
        ({"field": "t", "op": "contains", "value": 1}, "is text, which cannot contain a number"),
        ({"field": "n", "op": "startswith", "value": "1"}, "is a number, so that startswith has no meaning"),
        ({"op": ">", "value": 1}, "^the item with index 0 is an object, which"),
    ],
)
def test_what_cannot_be_compared_fails_and_is_named(condition: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeFailed, match=message) as caught:
        kept(condition)
    assert (caught.value.code, caught.value.retryable) == ("wrong_type", False)
    assert caught.value.details == {"index": 0, "field": condition.get("field", "")}


def test_an_expression_keeps_the_items_for_which_it_holds() -> None:
    scope = Scope(params={"items": [1, 5, 9], "limit": 4})
    assert run("filter", scope, items="{{ params.items }}", where="item > params.limit") == [5, 9]
    assert run("filter", scope, items="{{ params.items }}", where="{{ index != 1 }}") == [1, 9]
    assert run("filter", scope, items=[], where="item.nothing") == []
    with pytest.raises(ExpressionFailed, match="index 0"):
        run("filter", scope, items=[3], where="item.nothing")


@pytest.mark.parametrize(
    ("arrived", "items"),
    [
        ({"input": [1, 2]}, [1, 2]),
        ({"input": 1}, [1]),
        ({"input": [[1, 2], [3]]}, [1, 2, 3]),
        ({"input": [[1], 2, None]}, [1, 2]),
        ({"a": [1], "b": 2}, [1, 2]),
        ({"input": None}, []),
        ({}, []),
    ],
)
def test_without_items_what_arrived_is_one_list(arrived: dict[str, object], items: list[object]) -> None:
    scope = Scope(inputs=arrived)
    assert run("filter", scope, where="true") == items
    assert run("aggregate", scope, values={"all": {"op": "collect"}}) == {"all": items}


def test_items_that_are_given_stay_as_they_are() -> None:
    items = [[1, 2], None, [3]]
    assert run("filter", Scope(params={"items": items}), items="{{ params.items }}", where="true") == items
    with pytest.raises(ConfigInvalid, match="`items` should be a valid list"):
        run("filter", Scope(params={"items": 3}), items="{{ params.items }}", where="true")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, [("where", "missing_field")]),
        ({"where": "item >"}, [("where", "bad_expression")]),
        ({"where": 3}, [("where", "wrong_type")]),
        ({"where": [{"op": "matches", "value": "(a+)+"}]}, [("where[0].op", "invalid_value")]),
        ({"where": [{"op": "in", "value": "abc"}]}, [("where[0]", "invalid_value")]),
        ({"where": [{"op": ">", "value": True}]}, [("where[0]", "invalid_value")]),
        ({"where": [{"op": "startswith", "value": 1}]}, [("where[0]", "invalid_value")]),
        ({"where": [{"op": "exists", "value": "yes"}]}, [("where[0]", "invalid_value")]),
        ({"where": [{"feild": "a"}]}, [("where[0].feild", "unknown_key")]),
        ({"where": [{"op": "in", "value": "{{ params.list }}"}]}, []),
        ({"where": [], "match": "some"}, [("match", "invalid_value")]),
    ],
)
def test_faults_of_a_filter_are_found_before_it_runs(data: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults("filter", **data) == expected


def over(op: str, items: list[object], field: str = "", **more: Any) -> Any:
    return aggregate(items, {"x": Aggregate(op=op, field=field, **more)})["x"]


@pytest.mark.parametrize(
    ("op", "value", "of_nothing"),
    [
        ("count", 3, 0),
        ("sum", 6.5, 0),
        ("mean", 6.5 / 3, None),
        ("average", 6.5 / 3, None),
        ("min", 1, None),
        ("max", 3, None),
        ("first", 3, None),
        ("last", 1, None),
        ("collect", [3, 2.5, 1], []),
        ("unique", [3, 2.5, 1], []),
        ("join", "3, 2.5, 1", ""),
    ],
)
def test_every_operation_passes_over_what_is_missing_or_null(op: str, value: object, of_nothing: object) -> None:
    items: list[object] = [{"n": 3}, {"n": None}, {}, {"n": 2.5}, 7, {"n": 1}]
    assert over(op, items, "n") == value
    assert over(op, [{}, {"n": None}], "n") == of_nothing
    assert over(op, []) == of_nothing


def test_values_may_be_texts_and_of_all_kinds_where_that_makes_sense() -> None:
    assert over("max", ["b", "a"]) == "b"
    assert over("unique", [1, True, 1.0, "1", [1], [True], {"a": 1, "b": 2}, {"b": 2, "a": 1}]) == [
        *(1, True, "1", [1], [True]),
        {"a": 1, "b": 2},
    ]
    assert over("join", ["a", {"b": 1}, True], separator="|") == 'a|{"b":1}|true'


@pytest.mark.parametrize(
    ("op", "items", "message"),
    [
        ("sum", [{"n": 1}, {"n": "2"}], "`n` of the item with index 1 is text, and sum takes numbers"),
        ("mean", [{"n": 1}, {}, {"n": False}], "with index 2 is a boolean, and mean takes numbers"),
        ("min", [{"n": 1}, {"n": "a"}], "with index 1 is text, and min takes numbers"),
        ("max", [{"n": "a"}, {"n": 1}], "with index 1 is a number, and max cannot compare it with text"),
        ("max", [{"n": []}], "with index 0 is a list, and max takes numbers"),
    ],
)
def test_what_an_operation_does_not_take_is_named(op: str, items: list[object], message: str) -> None:
    with pytest.raises(NodeFailed, match=message) as caught:
        over(op, items, "n")
    assert (caught.value.code, caught.value.retryable) == ("wrong_type", False)


@pytest.mark.parametrize("items", [[2**64], [1e308, 1e308], [10**400, 0.5], [2**63, 2**63]])
def test_a_sum_that_no_number_can_be_is_named(items: list[object]) -> None:
    with pytest.raises(NodeFailed) as caught:
        over("sum", items)
    assert caught.value.code == "number_too_large"


def test_groups_come_in_the_order_of_their_first_items() -> None:
    items = [
        {"k": {"x": "b"}, "n": 1},
        {"n": 2},
        {"k": {"x": "a"}, "n": 3},
        {"k": {"x": "b"}, "n": 4},
        {"k": {"x": None}},
    ]
    values = {"n": {"op": "sum", "field": "n"}, "all": {"op": "count"}}
    assert run("aggregate", items=items, groupBy="k.x", values=values) == [
        {"key": "b", "n": 5, "all": 2},
        {"key": None, "n": 2, "all": 2},
        {"key": "a", "n": 3, "all": 1},
    ]
    assert run("aggregate", items=[], groupBy="k", values=values) == []


def test_an_error_in_a_group_names_the_index_in_the_whole_list() -> None:
    items = [{"k": 1, "n": 1}, {"k": 2, "n": 1}, {"k": 2, "n": "x"}]
    with pytest.raises(NodeFailed, match="index 2"):
        run("aggregate", items=items, groupBy="k", values={"n": {"op": "sum", "field": "n"}})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, [("values", "missing_field")]),
        ({"values": {}}, [("values", "invalid_value")]),
        ({"values": {"key": {"op": "sum"}}}, [("values", "invalid_value")]),
        ({"values": {"a": {"op": "median"}}}, [("values.a.op", "invalid_value")]),
        ({"values": {"a": {"op": "sum", "separator": ","}}}, [("values.a", "invalid_value")]),
        ({"values": {"a": {"op": "sum"}}, "group_by": "x"}, [("group_by", "unknown_key")]),
    ],
)
def test_faults_of_an_aggregate_are_found_before_it_runs(data: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults("aggregate", **data) == expected


@pytest.mark.parametrize("type_name", ["filter", "aggregate"])
def test_lists_of_any_length_do_not_hold_up_an_event_loop(type_name: str) -> None:
    node_type = REGISTRY.get(type_name)
    assert node_type is not None
    assert node_type.isolation == "thread"


@given(JSON, JSON)
def test_values_are_alike_when_their_json_is(left: object, right: object) -> None:
    def plain(value: object) -> str:
        # In JSON text 1 and 1.0 differ, though they are the same number.
        as_floats = json.loads(json.dumps(value), parse_int=float)
        return json.dumps(as_floats, sort_keys=True).replace("-0.0", "0.0")

    assert (identity(left) == identity(right)) == (plain(left) == plain(right))
    assert hash(identity(left)) == hash(identity(json.loads(json.dumps(left))))


@given(JSON, PATHS)
def test_a_path_finds_what_its_steps_find_one_by_one(value: Any, path: str) -> None:
    found: Any = value
    for step in steps_of(path):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step] if isinstance(found, dict) else MISSING
        except (KeyError, IndexError, ValueError):
            found = MISSING
        if found is MISSING:
            break
    assert value_at(value, steps_of(path)) is found or value_at(value, steps_of(path)) == found


@given(st.lists(JSON, max_size=8), PATHS, JSON)
def test_equal_and_not_equal_part_a_list_in_two(items: list[object], field: str, value: object) -> None:
    equal, other = (all_of([Condition(field=field, op=op, value=value)], "all") for op in ("==", "!="))
    for index, item in enumerate(items):
        assert equal(item, index) != other(item, index)
        assert all_of([Condition(field=field, op="in", value=[value])], "all")(item, index) == equal(item, index)


@given(st.lists(st.integers(-5, 5) | st.floats(-5, 5)), st.integers(-5, 5))
def test_comparisons_part_a_list_of_numbers_in_three(items: list[object], value: int) -> None:
    below, same, above = (run("filter", items=items, where=[{"op": op, "value": value}]) for op in ("<", "==", ">"))
    assert Counter(map(repr, [*below, *same, *above])) == Counter(map(repr, items))
    assert run("filter", items=items, where=f"item < ({value})") == below


@given(st.lists(NUMBERS, min_size=1))
def test_a_sum_is_as_exact_as_numbers_can_be(items: list[Any]) -> None:
    exact = sum(Fraction(number) for number in items)
    total = over("sum", items)
    if all(isinstance(number, int) for number in items):
        assert total == exact
        assert isinstance(total, int)
    else:
        assert total == float(exact)
    assert over("sum", items[::-1]) == total
    assert math.isclose(over("mean", items), float(exact / len(items)), rel_tol=1e-12, abs_tol=1e-300)
    assert over("min", items) <= over("mean", items) <= over("max", items)


def test_a_mean_is_never_past_the_numbers_that_it_is_of() -> None:
    assert over("mean", [900719925474099.5] * 5) == 900719925474099.5


@given(st.lists(JSON), PATHS)
def test_groups_hold_every_item_once(items: list[object], by: str) -> None:
    groups: list[dict[str, Any]] = group(items, by, {"all": Aggregate(op="collect"), "n": Aggregate(op="count")})
    not_null = [item for item in items if item is not None]
    found = [item for each in groups for item in each["all"]]
    assert Counter(map(json.dumps, found)) == Counter(map(json.dumps, not_null))
    assert sum(each["n"] for each in groups) == len(not_null)
    keys = [identity(each["key"]) for each in groups]
    assert len(set(keys)) == len(keys)
