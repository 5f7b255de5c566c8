"""Facts about the errors that nodes raise."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from weftline_executor.nodes import NodeFailed


class Mute:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Torn(Mapping[str, object]):
    """A mapping that breaks when it is read."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError("torn")

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("given", "text"),
    [("boom", "boom"), (ValueError("boom"), "boom"), (404, "404"), (None, "None"), (Mute(), "(Mute)")],
)
def test_a_failure_has_a_message_and_a_code_of_text_whatever_it_is_given(given: Any, text: str) -> None:
    error = NodeFailed(given, code=given)
    assert (error.message, error.code, str(error)) == (text, text, text)
    assert type(error.message) is type(error.code) is str


@pytest.mark.parametrize(
    ("given", "details"),
    [
        (None, None),
        ({}, {}),
        ({"status": 500}, {"status": 500}),
        ({1: "a", Mute(): "b"}, {"1": "a", "(Mute)": "b"}),
        ([1, 2], {"details": [1, 2]}),
        ("why", {"details": "why"}),
        (Torn(), {"details": "(Torn)"}),
    ],
)
def test_a_failure_has_details_by_key_whatever_it_is_given(given: Any, details: dict[str, object] | None) -> None:
    assert NodeFailed("x", details=given).details == details
