"""Facts about @node: what it reads from a function, and which functions it refuses."""

import enum
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import Field

from weftline_executor.nodes import BadDeclaration, Context, Expression, Scope, node
from weftline_executor.nodes.testing import RecordingSink, make_context


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@node("shop.reserve", title="Reserve stock", idempotency="keyed", outputs=("ok", "none"))
async def reserve(ctx: Context, sku: str, count: Annotated[int, Field(ge=1)] = 1, size: Size = Size.SMALL) -> str:
    """Reserves stock.

    Fails when there is none.
    """
    return f"{count} {sku} {size.value} {ctx.attempt}"


@node("shop.price")
def price(ctx: Context, json: str, copy: bool = False) -> str:
    return json


@node("shop.count", isolation="inline")
def count_inputs(ctx: Context, inputs: dict[str, object], params: dict[str, object]) -> int:
    return len(inputs) + len(params)


def test_a_type_is_read_from_its_function() -> None:
    found = reserve.node_type
    assert (found.name, found.title, found.idempotency, found.outputs, found.isolation, found.dynamic_handles) == (
        "shop.reserve",
        "Reserve stock",
        "keyed",
        ("ok", "none"),
        "async",
        False,
    )
    assert found.description == "Reserves stock.\n\nFails when there is none."
    assert found.handles({"sku": "x"}) == ("ok", "none")


@node("shop.renamed")
def renamed(
    ctx: Context,
    max_count: Annotated[int, Field(alias="maxCount", ge=1)] = 1,
    where: Annotated[object, Expression(), Field(alias="onlyIf")] = True,
) -> list[object]:
    return [max_count, where]


def test_a_setting_may_be_called_otherwise_than_its_parameter() -> None:
    data: dict[str, object] = {"maxCount": 3, "onlyIf": "params.x > 1"}
    assert renamed.node_type.check(data) == []
    prepared = renamed.node_type.prepare(data)
    kwargs = prepared.bind(Scope(params={"x": 2}))
    assert prepared.call(make_context(RecordingSink()), kwargs, {}) == [3, True]
    assert sorted(renamed.node_type.config_schema["properties"]) == ["maxCount", "onlyIf"]  # type: ignore[call-overload]
    faults = renamed.node_type.check({"max_count": 3, "maxCount": 0})
    assert [(fault.path, fault.code) for fault in faults] == [
        ("maxCount", "invalid_value"),
        ("max_count", "unknown_key"),
    ]


def test_what_is_not_said_has_a_default() -> None:
    found = price.node_type
    assert (found.title, found.description, found.idempotency, found.outputs) == ("Shop price", "", "safe", ("output",))


def test_a_plain_function_runs_in_a_thread_unless_it_is_inline() -> None:
    assert price.node_type.isolation == "thread"
    assert count_inputs.node_type.isolation == "inline"


async def test_a_decorated_function_is_called_as_itself() -> None:
    ctx = make_context(RecordingSink(), attempt=2)
    assert await reserve(ctx, "pen", count=3) == "3 pen small 2"
    assert price(ctx, json="[]") == "[]"


def test_a_parameter_may_be_called_like_a_method_of_pydantic() -> None:
    assert price.node_type.check({"json": "[]", "copy": True}) == []


def test_inputs_and_params_are_no_settings() -> None:
    schema = count_inputs.node_type.config_schema
    assert schema["properties"] == {}
    assert [fault.code for fault in count_inputs.node_type.check({"inputs": {}})] == ["unknown_key"]


def test_the_schema_is_json_schema_of_the_whole_data() -> None:
    schema = reserve.node_type.config_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"sku": "pen", "count": 2, "size": "large", "label": "Pens", "ui": {"x": 1}})
    assert not validator.is_valid({"count": 2})
    assert not validator.is_valid({"sku": "pen", "count": 0})
    assert not validator.is_valid({"sku": "pen", "colour": "red"})


def test_a_parameter_that_takes_an_expression_says_so_in_the_schema() -> None:
    @node("test.when", isolation="inline")
    def when(ctx: Context, rule: Annotated[object, Expression()]) -> None: ...

    properties = when.node_type.config_schema["properties"]
    assert isinstance(properties, dict)
    assert properties["rule"]["format"] == "expression"


def test_a_default_that_json_cannot_hold_stays_out_of_the_schema() -> None:
    mark = object()

    @node("test.optional", isolation="inline")
    def optional(ctx: Context, value: object = mark) -> bool:
        return value is mark

    prepared = optional.node_type.prepare({})
    assert "default" not in str(optional.node_type.config_schema["properties"])
    assert prepared.call(make_context(RecordingSink()), prepared.bind(Scope()), {}) is True


def no_ctx(value: int) -> None: ...


def nothing() -> None: ...


def keyword_ctx(*, ctx: Context) -> None: ...


def star(ctx: Context, *values: int) -> None: ...


def star_star(ctx: Context, **values: int) -> None: ...


def positional(ctx: Context, value: int, /) -> None: ...


def untyped(ctx, value) -> None: ...  # type: ignore[no-untyped-def]


def hidden(ctx: Context, _value: int) -> None: ...


def canvas(ctx: Context, label: str) -> None: ...


def canvas_alias(ctx: Context, name: Annotated[str, Field(alias="label")]) -> None: ...


def twice(ctx: Context, count: int, total: Annotated[int, Field(alias="count")]) -> None: ...


def default_inputs(ctx: Context, inputs: dict[str, object] | None = None) -> None: ...


def unknown_type(ctx: Context, value: "Nope") -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Opaque:
    pass


def opaque(ctx: Context, value: Opaque) -> None: ...


def uncheckable(ctx: Context, value: Callable[[int], int]) -> None: ...


def generator(ctx: Context) -> Iterator[int]:
    yield 1


async def async_generator(ctx: Context) -> AsyncIterator[int]:
    yield 1


async def coroutine(ctx: Context) -> None: ...


def plain(ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (no_ctx, "must be `ctx`"),
        (nothing, "must be `ctx`"),
        (keyword_ctx, "must be `ctx`"),
        (star, "`*values: int` is not possible"),
        (star_star, "`**values: int` is not possible"),
        (positional, "positional only"),
        (untyped, "`value` needs a type"),
        (hidden, "begin with an underscore"),
        (canvas, "belongs to the canvas"),
        (canvas_alias, "belongs to the canvas"),
        (twice, "two settings are called `count`"),
        (default_inputs, "takes no default"),
        (unknown_type, "cannot be resolved"),
        (opaque, "pydantic refuses"),
        (uncheckable, "has no JSON Schema"),
        (generator, "not yield"),
        (async_generator, "not yield"),
    ],
)
def test_a_function_that_cannot_be_a_node_is_refused(function: Callable[..., object], reason: str) -> None:
    with pytest.raises(BadDeclaration, match=r"test\.bad") as caught:
        node("test.bad")(function)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        (plain, {"isolation": "cloud"}, "isolation is one of"),
        (plain, {"memory_mb": 1}, "memory_mb bounds a process"),
        (plain, {"isolation": "process", "cpu_seconds": -1}, "cpu_seconds is a whole number from 0"),
        (plain, {"isolation": "async"}, "does not fit a plain `def`"),
        (coroutine, {"isolation": "inline"}, "does not fit an `async def`"),
        (coroutine, {"isolation": "thread"}, "does not fit an `async def`"),
        (plain, {"idempotency": "maybe"}, "idempotency is one of"),
        (plain, {"outputs": "output"}, "outputs is a tuple"),
        (plain, {"outputs": ("a", "")}, "outputs is a tuple"),
        (plain, {"outputs": ("a", "a")}, "named twice"),
        (plain, {"outputs": ()}, "needs an output handle"),
        (plain, {"outputs": ("h" * 257,)}, "at most 256 characters"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(
    function: Callable[..., object], arguments: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadDeclaration) as caught:
        node("test.bad", **arguments)(function)
    assert reason in caught.value.reason


@pytest.mark.parametrize("name", ["", "a b", ".a", "a.", "1a", "a" * 65, "a/b"])
def test_a_name_is_made_of_dotted_words(name: str) -> None:
    with pytest.raises(BadDeclaration, match="dotted words"):
        node(name)(plain)


def _tenfold(data: Any) -> Any:
    return data["n"] * 10


def _named(data: Any) -> Any:
    return {"n": data["n"]} if data["n"] != 7 else ["seven"]


@node("test.hooks", isolation="inline", outputs=("done",), expects=_tenfold, handle_names=_named)
def hooked(ctx: Context, n: object = 1) -> None: ...


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"n": 3}, 30.0),
        ({}, None),
        ({"n": None}, None),
        ({"n": "{{ 1 }}"}, None),
        ({"n": -1}, None),
        ({"n": 1e308}, None),
        ({"n": float("nan")}, None),
        ({"n": 10**400}, None),
        ({"n": [1]}, None),
    ],
)
def test_a_type_expects_nothing_where_its_author_s_code_gives_no_time(data: Any, expected: float | None) -> None:
    assert hooked.node_type.expected_ms(data) == expected


@pytest.mark.parametrize("data", [{}, {"n": 5}, {"n": 7}, {"n": None}])
def test_handles_that_an_author_s_code_cannot_name_are_a_fault_and_the_declared_ones_stay(data: Any) -> None:
    assert hooked.node_type.handles(data) == ("done",)
    [fault] = hooked.node_type.check(data)
    assert (fault.path, fault.code) == ("", "bad_declaration")
    assert fault.message.startswith("test.hooks cannot name its output handles for this data: ")


def test_a_fault_of_the_data_is_enough_where_an_author_s_code_stumbles_over_it() -> None:
    assert [fault.code for fault in hooked.node_type.check({"m": 1})] == ["unknown_key"]
    assert hooked.node_type.handles({"n": "left"}) == ("done", "left")
    assert hooked.node_type.check({"n": "left"}) == []
