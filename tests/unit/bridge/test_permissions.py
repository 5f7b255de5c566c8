"""Permissions: which workflows a pattern covers, and what a token's claims have to be."""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline_bridge.auth import EVERYTHING, NOTHING, Identity, Scope
from weftline_bridge.auth.identity import MAX_PATTERNS
from weftline_bridge.errors import TokenRefusedError


def scope(*patterns: str) -> Scope:
    return Scope(frozenset(patterns))


@pytest.mark.parametrize(
    ("patterns", "workflow_id", "covered"),
    [
        (("orders-*",), "orders-1", True),
        (("orders-*",), "orders-", True),
        (("orders-*",), "my-orders-1", False),
        (("orders",), "orders", True),
        (("orders",), "orders.each.0", False),
        (("orders*",), "orders.each.0", True),
        (("a.b",), "axb", False),
        (("?-x",), "1-x", True),
        (("?-x",), "-x", False),
        (("a*", "*z"), "buzz", True),
        ((), "anything", False),
        (("*",), "anything", True),
    ],
)
def test_a_scope_covers_what_one_of_its_patterns_does(
    patterns: tuple[str, ...], workflow_id: str, covered: bool
) -> None:
    assert scope(*patterns).covers(workflow_id) is covered


@given(st.sets(st.text("ab.*?", min_size=1, max_size=8), max_size=4), st.text("ab.", min_size=1, max_size=10))
def test_patterns_are_those_of_a_shell(patterns: set[str], workflow_id: str) -> None:
    expected = any(fnmatch.fnmatchcase(workflow_id, pattern) for pattern in patterns)
    assert Scope(frozenset(patterns)).covers(workflow_id) is expected


def test_a_pattern_of_many_stars_is_decided_at_once() -> None:
    assert not scope("*a" * 60 + "*b").covers("a" * 128)


def test_what_may_be_controlled_may_be_viewed() -> None:
    identity = Identity.from_claims({"sub": "ada", "weftline": {"view": ["a"], "control": ["b"]}}, 1.0)
    assert (identity.view, identity.control) == (scope("a", "b"), scope("b"))


def test_a_token_that_says_nothing_of_workflows_permits_none() -> None:
    identity = Identity.from_claims({"sub": "ada"}, 1.0)
    assert (identity.view, identity.control) == (NOTHING, NOTHING)
    assert not identity.view
    assert EVERYTHING.everything


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 257},
        {"sub": "two\nlines"},
        {"sub": "anonymous"},
        {"sub": "weftline"},
        {"weftline": ["*"]},
        {"weftline": {"view": "*"}},
        {"weftline": {"view": [1]}},
        {"weftline": {"control": [""]}},
        {"weftline": {"view": ["[a-z]"]}},
        {"weftline": {"view": ["x" * 129]}},
        {"weftline": {"view": ["x"] * (MAX_PATTERNS + 1)}},
    ],
)
def test_claims_of_another_form_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenRefusedError) as raised:
        Identity.from_claims({"sub": "ada", **claims}, 1.0)
    assert raised.value.code == "token_claims"
