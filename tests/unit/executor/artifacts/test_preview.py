"""A preview is small, JSON, and like the value that it is made of."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_executor.artifacts import preview
from weftline_executor.artifacts.preview import PREVIEW_BYTES

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(max_size=3000),
    lambda inner: st.lists(inner, max_size=200) | st.dictionaries(st.text(max_size=200), inner, max_size=200),
    max_leaves=400,
)


def seen(body: bytes, limit: int = PREVIEW_BYTES) -> Any:
    found = preview(body, limit)
    assert len(found) <= limit
    return msgspec.json.decode(found)


@given(VALUES, st.integers(5, PREVIEW_BYTES))
def test_any_value_has_a_preview_of_its_kind_within_the_limit(value: Any, limit: int) -> None:
    body = msgspec.json.encode(value)
    found = seen(body, limit)
    if len(body) <= limit:
        assert found == msgspec.json.decode(body)
    elif found != "…":
        assert type(found) is type(value)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_a_long_list_shows_its_beginning_and_how_much_more_there_is(items: list[int]) -> None:
    value = items * 5000
    found = seen(msgspec.json.encode(value))
    kept = len(found) - 1
    assert found[:-1] == value[:kept]
    assert found[-1] == f"… {len(value) - kept} more"


@pytest.mark.parametrize("letter", ["x", "ü", "\x01", "😀"])
def test_a_long_text_shows_its_beginning(letter: str) -> None:
    found = seen(msgspec.json.encode(letter * 100_000))
    assert found.endswith("…")
    assert found.removesuffix("…") == letter * (len(found) - 1)
    assert len(found) > 100


def test_what_is_small_stays_beside_what_is_large() -> None:
    found = seen(msgspec.json.encode({"status": 200, "body": "x" * 1_000_000, "rows": list(range(100_000))}))
    assert (found["status"], found["body"][-1], found["rows"][0]) == (200, "…", 0)


def test_an_object_of_many_keys_says_how_many_are_left_out() -> None:
    found = seen(msgspec.json.encode({f"key-{number}": number for number in range(10_000)}))
    assert found["key-0"] == 0
    assert found["…"] == f"{10_000 - (len(found) - 1)} more"


@pytest.mark.parametrize("broad", [2, 10, 64])
def test_a_value_that_is_broad_and_deep_is_cut_without_being_walked_through(broad: int) -> None:
    value: Any = "leaf"
    for _ in range(40):
        value = [value] * broad
        if len(msgspec.json.encode(value)) > 1_000_000:
            break
    assert isinstance(seen(msgspec.json.encode(value)), list)
