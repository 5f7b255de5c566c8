"""Facts about a node's configuration: its faults before a run, its references, and what a call is bound to."""

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from weftline_executor.nodes import ConfigInvalid, Context, Expression, ExpressionFailed, Scope, node
from weftline_executor.nodes.faults import path_text
from weftline_executor.nodes.testing import RecordingSink, make_context


class Item(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    sku: str
    count: int = 1


@node("test.order", isolation="inline")
def order(
    ctx: Context,
    *,
    name: str,
    seconds: Annotated[float, Field(ge=0)] = 1.0,
    items: list[Item] | None = None,
    amount: int | list[int] = 0,
    extra: dict[str, int] | None = None,
) -> str:
    return name


@node("test.rule", isolation="inline")
def rule(ctx: Context, when: Annotated[object, Expression()]) -> object:
    return when


def faults(**data: object) -> list[tuple[str, str]]:
    return [(fault.path, fault.code) for fault in order.node_type.check(data)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"name": "x"}, []),
        ({"name": "x", "label": 1, "description": 2, "ui": 3, "policy": 4}, []),
        ({}, [("name", "missing_field")]),
        ({"name": ["x"]}, [("name", "wrong_type")]),
        ({"name": "x", "seconds": -1}, [("seconds", "invalid_value")]),
        ({"name": "x", "seconds": "soon"}, [("seconds", "wrong_type")]),
        ({"name": "x", "items": [{"sku": "a"}, {}]}, [("items[1].sku", "missing_field")]),
        ({"name": "x", "items": {}}, [("items", "wrong_type")]),
        ({"name": "x", "amount": "a"}, [("amount", "wrong_type")]),
        ({"name": "x", "extra": {"my key": "a"}}, [('extra["my key"]', "wrong_type")]),
        ({"name": "x", "nam": 1, "zzz": 2}, [("nam", "unknown_key"), ("zzz", "unknown_key")]),
        ({"name": "{{ params.x }}", "seconds": "{{ params.y }}"}, []),
        ({"name": "x", "items": "{{ params.items }}"}, []),
        ({"name": "x", "items": ["{{ params.item }}"]}, []),
        ({"name": "x", "items": [{"sku": "a", "count": "{{ params.n }}"}]}, []),
        ({"name": "x", "items": [{"count": "{{ params.n }}"}]}, [("items[0].sku", "missing_field")]),
        ({"name": ["{{ params.x }}"]}, [("name", "wrong_type")]),
        ({"name": "x", "amount": ["{{ params.n }}", 2]}, []),
        ({"name": "x", "nam": "{{ params.x }}"}, [("nam", "unknown_key")]),
        ({"name": "{{ foo }}"}, [("name", "bad_expression")]),
        ({"name": "x", "items": [{"sku": "{{ 1 +"}]}, [("items[0].sku", "bad_expression")]),
    ],
)
def test_every_fault_is_found_at_its_path(data: dict[str, object], expected: list[tuple[str, str]]) -> None:
    assert faults(**data) == expected


def test_all_faults_are_found_at_once() -> None:
    assert faults(seconds=-1, items=[{}], colour=1, amount="{{ nope }}") == [
        ("amount", "bad_expression"),
        ("name", "missing_field"),
        ("seconds", "invalid_value"),
        ("items[0].sku", "missing_field"),
        ("colour", "unknown_key"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x", "secnds": 2}, "`secnds` is not a setting of test.order; did you mean `seconds`?"),
        ({"name": "x", "zzz": 2}, "`zzz` is not a setting of test.order."),
        ({"name": "x", "seconds": -1}, "`seconds` should be greater than or equal to 0, but is -1."),
        ({}, "`name` is required."),
    ],
)
def test_a_fault_is_a_sentence_that_names_the_setting(data: dict[str, object], message: str) -> None:
    assert [fault.message for fault in order.node_type.check(data)] == [message]


@pytest.mark.parametrize("name", ["map", "workflow"])
def test_a_type_that_runs_a_body_is_refused_where_it_is_to_run_in_a_worker_process(name: str) -> None:
    @node(name, isolation="process")
    async def runs_others(ctx: Context) -> None: ...

    assert [(fault.path, fault.code) for fault in runs_others.node_type.check({})] == [("", "body_in_process")]


def test_a_long_value_is_shortened_in_the_message() -> None:
    (fault,) = order.node_type.check({"name": "x", "seconds": "y" * 10_000})
    assert len(fault.message) < 200


def test_references_name_the_nodes_that_expressions_read_with_their_paths() -> None:
    data = {
        "name": "{{ nodes.a.output }} {{ nodes['b-1'].output.x }}",
        "items": [{"sku": "{{ nodes.a.output }}"}],
        "amount": "{{ broken",
        "label": "{{ nodes.ignored }}",
    }
    found = [(reference.path, reference.node_id) for reference in order.node_type.references(data)]
    assert found == [("name", "a"), ("name", "b-1"), ("items[0].sku", "a")]


def test_a_setting_that_takes_an_expression_takes_it_without_braces_too() -> None:
    scope = Scope(params={"n": 3})
    assert rule.node_type.prepare({"when": "params.n > 2"}).bind(scope) == {"when": True}
    assert rule.node_type.prepare({"when": "{{ params.n > 2 }}"}).bind(scope) == {"when": True}
    assert rule.node_type.prepare({"when": False}).bind(scope) == {"when": False}
    assert [r.node_id for r in rule.node_type.references({"when": "nodes.a.output"})] == ["a"]


def test_a_setting_that_takes_an_expression_takes_only_one() -> None:
    (fault,) = rule.node_type.check({"when": "{{ params.a }} == {{ params.b }}"})
    assert fault.code == "bad_expression"
    assert "must be one expression" in fault.message


def test_expressions_are_rendered_at_any_depth_and_validated_after() -> None:
    prepared = order.node_type.prepare(
        {"name": "n{{ params.n }}", "seconds": "{{ params.n / 2 }}", "items": [{"sku": "{{ params.n }}", "count": "2"}]}
    )
    kwargs = prepared.bind(Scope(params={"n": 3}))
    assert kwargs["name"] == "n3"
    assert kwargs["seconds"] == 1.5
    assert kwargs["items"] == [Item(sku="3", count=2)]


def test_a_rendered_value_that_does_not_fit_is_refused_by_name() -> None:
    prepared = order.node_type.prepare({"name": "x", "seconds": "{{ params.n }}"})
    with pytest.raises(ConfigInvalid, match="`seconds` should be greater than or equal to 0, but is -3") as caught:
        prepared.bind(Scope(params={"n": -3}))
    assert caught.value.code == "bad_config"
    assert [fault.path for fault in caught.value.faults] == ["seconds"]


def test_an_expression_without_a_value_is_refused_by_name() -> None:
    prepared = order.node_type.prepare({"name": "x", "items": [{"sku": "{{ params.nope }}"}]})
    with pytest.raises(ExpressionFailed, match=r"`items\[0\]\.sku`: .* no key 'nope'") as caught:
        prepared.bind(Scope())
    assert (caught.value.code, caught.value.path) == ("bad_expression", "items[0].sku")


@pytest.mark.parametrize(("data", "error"), [({}, ConfigInvalid), ({"name": "{{ foo }}"}, ExpressionFailed)])
def test_a_bad_configuration_is_prepared_and_refused_when_it_is_bound(
    data: dict[str, object], error: type[Exception]
) -> None:
    prepared = order.node_type.prepare(data)
    for _ in range(2):
        with pytest.raises(error):
            prepared.bind(Scope())


def test_a_static_configuration_of_scalars_is_bound_once() -> None:
    prepared = order.node_type.prepare({"name": "x"})
    assert prepared.bind(Scope()) is prepared.bind(Scope())


def test_a_function_cannot_change_what_the_next_attempt_gets() -> None:
    prepared = order.node_type.prepare({"name": "x", "extra": {"a": 1}})
    first: Any = prepared.bind(Scope())
    first["extra"]["b"] = 2
    assert prepared.bind(Scope())["extra"] == {"a": 1}


def test_inputs_and_params_are_given_beside_the_settings() -> None:
    @node("test.all", isolation="inline")
    def everything(ctx: Context, inputs: dict[str, object], params: dict[str, object], x: int = 1) -> list[object]:
        return [inputs, params, x]

    prepared = everything.node_type.prepare({"x": 2})
    kwargs = prepared.bind(Scope(params={"p": 1}))
    assert prepared.call(make_context(RecordingSink()), kwargs, {"input": 5}) == [{"input": 5}, {"p": 1}, 2]


def test_what_a_function_does_to_its_inputs_and_params_reaches_nobody_else() -> None:
    @node("test.greedy", isolation="inline")
    def greedy(ctx: Context, inputs: dict[str, Any], params: dict[str, Any]) -> None:
        inputs["input"].append(2)
        params["list"].append(2)

    inputs: dict[str, object] = {"input": [1]}
    params: dict[str, object] = {"list": [1]}
    prepared = greedy.node_type.prepare({})
    prepared.call(make_context(RecordingSink()), prepared.bind(Scope(params=params)), inputs)
    assert (inputs, params) == ({"input": [1]}, {"list": [1]})


CITIES = {"rome": "Roma"}


@node("test.city", isolation="inline")
def city(ctx: Context, name: Annotated[str, AfterValidator(lambda name: CITIES[name])]) -> str:
    return name


def test_a_validator_that_breaks_is_a_fault_like_any_other() -> None:
    (fault,) = city.node_type.check({"name": "paris"})
    assert (fault.code, fault.message) == ("invalid_value", "A validator of test.city failed with KeyError: 'paris'.")
    with pytest.raises(ConfigInvalid, match="KeyError: 'paris'"):
        city.node_type.prepare({"name": "paris"}).bind(Scope())


def test_a_validator_sees_the_value_of_an_expression_and_not_its_text() -> None:
    assert city.node_type.check({"name": "{{ params.name }}"}) == []
    prepared = city.node_type.prepare({"name": "{{ params.name }}"})
    assert prepared.bind(Scope(params={"name": "rome"})) == {"name": "Roma"}


def test_an_error_that_is_raised_again_does_not_gather_frames() -> None:
    prepared = order.node_type.prepare({})
    depths = []
    for _ in range(3):
        with pytest.raises(ConfigInvalid) as caught:
            prepared.bind(Scope())
        depths.append(len(caught.traceback))
    assert len(set(depths)) == 1


TEXTS = st.text(st.characters(exclude_characters="{"))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))
FIELDS: dict[str, Any] = {
    "name": TypeAdapter(Annotated[str, Field(coerce_numbers_to_str=True)]),
    "seconds": TypeAdapter(Annotated[float, Field(ge=0)]),
    "amount": TypeAdapter(int | list[int]),
    "extra": TypeAdapter(dict[str, int] | None),
}


def by_pydantic(data: dict[str, object]) -> dict[str, object] | None:
    try:
        return {key: FIELDS[key].validate_python(value) for key, value in data.items()}
    except ValidationError:
        return None


@given(st.fixed_dictionaries({"name": VALUES}, optional={key: VALUES for key in FIELDS if key != "name"}))
def test_a_static_configuration_is_bound_to_what_pydantic_makes_of_it(data: dict[str, object]) -> None:
    expected = by_pydantic(data)
    prepared = order.node_type.prepare(data)
    if expected is None:
        assert order.node_type.check(data) != []
        with pytest.raises(ConfigInvalid):
            prepared.bind(Scope())
    else:
        assert order.node_type.check(data) == []
        assert prepared.bind(Scope()) == {"seconds": 1.0, "items": None, "amount": 0, "extra": None, **expected}


def test_paths_are_written_as_a_person_would() -> None:
    assert path_text(("cases", 0, "handle")) == "cases[0].handle"
    assert path_text(("values", "my key")) == 'values["my key"]'
