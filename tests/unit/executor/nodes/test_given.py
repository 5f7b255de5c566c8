"""What a function is given, as one text: equal for equal values, and for no others."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.nodes import Context, ExpressionFailed, Registry, Scope, node
from weftline_executor.nodes.testing import RecordingSink, make_context

SCALARS = st.none() | st.booleans() | st.integers(-100, 100) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@node("test.all")
def take_all(ctx: Context, inputs: dict[str, object], params: dict[str, object], value: object = None) -> None: ...


@node("test.little")
def take_little(ctx: Context, value: object = None) -> None: ...


def text_of(value: object, inputs: dict[str, object], params: dict[str, object]) -> bytes:
    """What a node is given that takes all there is, its setting by an expression."""
    call = take_all.node_type.prepare({"value": "{{ params.value }}"})
    return call.given(Scope(inputs=inputs, params={"value": value, **params}), inputs)


def reversed_keys(value: Any) -> Any:
    """The same JSON value with the keys of all objects in another order."""
    if isinstance(value, dict):
        return {key: reversed_keys(item) for key, item in reversed(value.items())}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(VALUES, VALUES, VALUES)
def test_the_order_of_keys_makes_no_difference(value: object, arrived: object, param: object) -> None:
    inputs: dict[str, object] = {"a": arrived, "b": 1}
    params: dict[str, object] = {"p": param, "q": 2}
    again = text_of(reversed_keys(value), reversed_keys(inputs), reversed_keys(params))
    assert text_of(value, inputs, params) == again


@given(VALUES, VALUES)
def test_any_other_difference_does(one: object, two: object) -> None:
    texts = {text_of(each, {}, {}) for each in (one, two)} | {text_of(None, {"a": each}, {}) for each in (one, two)}
    distinct = {msgspec.json.encode(each, order="deterministic") for each in (one, two)}
    assert len(texts) == 2 * len(distinct)


def test_what_the_function_does_not_ask_for_does_not_count() -> None:
    call = take_little.node_type.prepare({"value": 1, "label": "Mine"})
    scope = Scope(inputs={"a": 1}, params={"p": 1})
    assert call.given(scope, {"a": 1}) == take_little.node_type.prepare({"value": 1}).given(Scope(), {})


def test_an_expression_for_each_item_counts_with_all_that_it_may_read() -> None:
    filtering = Registry.with_builtins().get("filter")
    assert filtering is not None

    def text(where: str, least: int, items: list[int]) -> bytes:
        call = filtering.prepare({"items": "{{ params.items }}", "where": where})
        return call.given(Scope({"n": {"output": least}}, params={"items": items}), {})

    where = "item > nodes.n.output"
    base = text(where, 1, [1, 2])
    assert base == text(where, 1, [1, 2])
    assert len({base, text(where, 2, [1, 2]), text(where, 1, [1]), text("item >= nodes.n.output", 1, [1, 2])}) == 4


def test_an_expression_that_has_no_value_is_the_same_failure_as_when_it_is_rendered() -> None:
    call = take_little.node_type.prepare({"value": "{{ params.missing.more }}"})
    with pytest.raises(ExpressionFailed):
        call.given(Scope(), {})


def test_a_test_s_context_keeps_artifacts_in_memory() -> None:
    ctx = make_context(RecordingSink())
    reference = ctx.artifacts.write(b"picture", "image/png")
    assert (reference["size"], reference["contentType"]) == (7, "image/png")
    assert ctx.artifacts.read(reference) == ctx.artifacts.read(str(reference["uri"])) == b"picture"
    for wrong in ("text", None):
        with pytest.raises(TypeError, match="made of bytes"):
            ctx.artifacts.write(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="content type"):
        ctx.artifacts.write(b"", "a\nb")
