"""Facts about the built-in node types but `http.request`, each bound and called as the engine does it."""

import asyncio
import inspect

import pytest

from weftline_executor.nodes import Branch, ConfigInvalid, NodeFailed, Registry, Scope
from weftline_executor.nodes.testing import RecordingSink, make_context

REGISTRY = Registry.with_builtins()
NOTHING: dict[str, object] = {}


def run(
    type_name: str,
    data: dict[str, object],
    *,
    scope: Scope | None = None,
    sink: RecordingSink | None = None,
    already_elapsed: float = 0.0,
) -> object:
    """Check, bind and call a node, and give what it returned."""
    node_type = REGISTRY.get(type_name)
    assert node_type is not None
    assert node_type.check(data) == []
    scope = scope or Scope()
    prepared = node_type.prepare(data)
    ctx = make_context(sink or RecordingSink(), already_elapsed=already_elapsed)
    result = prepared.call(ctx, prepared.bind(scope), scope.inputs)
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    return result


def codes(type_name: str, data: dict[str, object]) -> list[tuple[str, str]]:
    node_type = REGISTRY.get(type_name)
    assert node_type is not None
    return [(fault.path, fault.code) for fault in node_type.check(data)]


@pytest.mark.parametrize("type_name", [t.name for t in REGISTRY if not t.config_schema.get("required")])
def test_every_type_without_required_settings_has_nothing_against_none(type_name: str) -> None:
    assert codes(type_name, {}) == []


def test_every_builtin_type_is_described_with_all_its_settings() -> None:
    for node_type in REGISTRY:
        assert node_type.description
        properties = node_type.config_schema["properties"]
        assert isinstance(properties, dict)
        assert [name for name, schema in properties.items() if "description" not in schema] == []


def test_noop_gives_nothing() -> None:
    assert run("noop", {}) is None


def test_log_writes_its_message_as_text_at_its_level() -> None:
    sink = RecordingSink()
    run("log", {"message": "{{ params.x }}", "level": "warn"}, scope=Scope(params={"x": [1]}), sink=sink)
    run("log", {"message": "hello"}, sink=sink)
    assert sink.lines == [("warn", "[1]", {}), ("info", "hello", {})]
    assert codes("log", {"message": "x", "level": "loud"}) == [("level", "invalid_value")]


@pytest.mark.parametrize(("data", "message"), [({}, "failed on purpose"), ({"message": "no stock"}, "no stock")])
def test_fail_fails_with_its_message(data: dict[str, object], message: str) -> None:
    with pytest.raises(NodeFailed) as caught:
        run("fail", data)
    assert (caught.value.message, caught.value.code, caught.value.details) == (message, "node_failed", None)


def test_delay_waits_and_reports_ten_times() -> None:
    sink = RecordingSink()
    run("delay", {"seconds": 5}, sink=sink)
    assert sink.sleeps == [0.5] * 10
    assert [round(fraction, 3) for fraction, _ in sink.reports] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]


def test_delay_waits_a_second_by_default() -> None:
    sink = RecordingSink()
    run("delay", {}, sink=sink)
    assert sum(sink.sleeps) == pytest.approx(1.0)


@pytest.mark.parametrize(("seconds", "sleeps"), [(0, []), (0.05, [0.05]), (0.25, [0.125, 0.125])])
def test_a_short_delay_is_not_cut_into_small_steps(seconds: float, sleeps: list[float]) -> None:
    sink = RecordingSink()
    run("delay", {"seconds": seconds}, sink=sink)
    assert sink.sleeps == sleeps
    assert sink.reports[-1] == (1.0, None)


def test_delay_waits_only_for_what_is_left_after_a_restart() -> None:
    sink = RecordingSink()
    run("delay", {"seconds": 10}, sink=sink, already_elapsed=7.5)
    assert sink.sleeps == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("seconds", [-1, 31_536_001, 1e16, float("inf"), float("nan")])
def test_an_impossible_delay_is_refused(seconds: float) -> None:
    assert codes("delay", {"seconds": seconds}) == [("seconds", "invalid_value")]


def test_a_delay_may_take_a_year() -> None:
    assert codes("delay", {"seconds": 31_536_000}) == []


def test_input_gives_its_values_with_the_parameters_over_them() -> None:
    scope = Scope(params={"b": 3, "c": 4})
    assert run("input", {"values": {"a": 1, "b": 2}}, scope=scope) == {"a": 1, "b": 3, "c": 4}
    assert run("input", {}) == {}


@pytest.mark.parametrize("type_name", ["output", "merge"])
@pytest.mark.parametrize(
    ("inputs", "expected"), [({"input": [1]}, [1]), ({"a": 1, "b": 2}, {"a": 1, "b": 2}), (NOTHING, None)]
)
def test_what_arrived_is_given_by_handle_when_there_are_several(
    type_name: str, inputs: dict[str, object], expected: object
) -> None:
    assert run(type_name, {}, scope=Scope(inputs=inputs)) == expected


@pytest.mark.parametrize("value", [None, 0, "x", {"a": [1]}])
def test_output_gives_its_value_also_when_it_is_null(value: object) -> None:
    scope = Scope(inputs={"input": "arrived"}, params={"value": value})
    assert run("output", {"value": "{{ params.value }}"}, scope=scope) == value
    assert run("output", {"value": value}, scope=scope) == value


def test_set_gives_its_values_with_expressions_at_any_depth() -> None:
    scope = Scope(nodes={"a": {"output": {"x": 1}}})
    values = {"n": "{{ nodes.a.output.x }}", "deep": [{"t": "x={{ nodes.a.output.x }}"}], "zip": "007"}
    assert run("set", {"values": values}, scope=scope) == {"n": 1, "deep": [{"t": "x=1"}], "zip": "007"}


@pytest.mark.parametrize(
    ("template", "text"), [("Hi {{ params.name }}!", "Hi Ada!"), ("{{ params.n }}", "3"), ("plain", "plain")]
)
def test_template_gives_text(template: str, text: str) -> None:
    assert run("template", {"template": template}, scope=Scope(params={"name": "Ada", "n": 3})) == text


@pytest.mark.parametrize(
    ("expression", "handle"),
    [
        ("{{ params.n > 2 }}", "true"),
        ("params.n > 2", "true"),
        ("params.n > 3", "false"),
        ("params.none", "false"),
        ("params.empty", "false"),
        ("'false'", "true"),
        ("false", "false"),
        (True, "true"),
        (0, "false"),
        ("nodes.missing.output | default(false)", "false"),
    ],
)
def test_condition_goes_one_of_two_ways(expression: object, handle: str) -> None:
    scope = Scope(params={"n": 3, "none": None, "empty": []})
    assert run("condition", {"expression": expression}, scope=scope) == Branch(handle, handle == "true")


@pytest.mark.parametrize("expression", ["yes", "{{ params.a }} == 2", "", "params.a =="])
def test_a_condition_that_is_no_expression_is_refused(expression: str) -> None:
    assert codes("condition", {"expression": expression}) == [("expression", "bad_expression")]


SWITCH: dict[str, object] = {
    "expression": "params.x",
    "cases": [
        {"value": 1, "handle": "one"},
        {"value": True, "handle": "yes"},
        {"value": "gold", "handle": "gold"},
        {"value": "{{ params.limit }}", "handle": "limit"},
    ],
    "default": "other",
}


@pytest.mark.parametrize(
    ("value", "handle"),
    [(1, "one"), (1.0, "one"), (True, "yes"), ("gold", "gold"), (9, "limit"), ("1", "other"), (None, "other")],
)
def test_switch_goes_the_way_of_the_first_equal_value(value: object, handle: str) -> None:
    scope = Scope(params={"x": value, "limit": 9})
    assert run("switch", SWITCH, scope=scope) == Branch(handle, value)


def test_the_handles_of_a_switch_are_those_of_its_cases_and_its_default() -> None:
    switch = REGISTRY.get("switch")
    assert switch is not None
    assert switch.dynamic_handles
    assert switch.handles(SWITCH) == ("one", "yes", "gold", "limit", "other")
    assert switch.handles({"expression": "1", "cases": [{"value": 1, "handle": "a"}]}) == ("a", "default")


@pytest.mark.parametrize("data", [{}, {"cases": 3}, {"cases": [3, {}, {"handle": 4}]}, {"cases": None}])
def test_the_handles_of_a_broken_switch_are_those_that_can_be_read(data: dict[str, object]) -> None:
    switch = REGISTRY.get("switch")
    assert switch is not None
    assert switch.handles(data) == ("default",)


def test_a_handle_of_a_switch_cannot_be_an_expression() -> None:
    cases = [{"value": 1, "handle": "{{ params.x }}"}, {"value": 2, "handle": ""}]
    assert codes("switch", {"expression": "1", "cases": cases}) == [
        ("cases[1].handle", "invalid_value"),
        ("cases[0].handle", "invalid_value"),
    ]


def test_a_rendered_setting_of_the_wrong_type_fails_when_it_is_bound() -> None:
    with pytest.raises(ConfigInvalid, match="`seconds`"):
        run("delay", {"seconds": "{{ params.x }}"}, scope=Scope(params={"x": "soon"}))
