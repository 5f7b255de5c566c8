"""docs/semantics.md is that of the code, and each of its rules names a test that exists."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from scripts.generate_semantics import DOCUMENT, Proofs, Unproven, document, meanings, words
from tests.repository.layout import ROOT
from weftline_executor.model.states import RunState

PAGE = DOCUMENT.read_text()
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]


@pytest.fixture(scope="module")
def tests() -> Proofs:
    return Proofs(ROOT / "tests")


def test_the_page_is_that_of_the_code(tests: Proofs) -> None:
    assert document(tests) == PAGE, "run make generate"


def test_every_rule_of_a_table_that_shows_tests_has_one() -> None:
    shown = 0
    for section in SECTIONS:
        for rows in re.findall(r"^\| .* shown by \|\n\| ---.*\n((?:\|.*\n)+)", section, re.MULTILINE):
            for row in rows.splitlines():
                assert re.search(r"\(\.\./tests/[\w/]+\.py\) \|$", row), row
                shown += 1
    assert shown > 50


def test_no_placeholder_is_left() -> None:
    assert re.findall(r"@\w+@|`test_\w+`", PAGE) == []


def test_a_test_that_does_not_exist_is_found(tests: Proofs) -> None:
    with pytest.raises(Unproven, match="there is no test test_that_nobody_wrote"):
        tests.link("test_that_nobody_wrote")


def test_a_word_without_a_meaning_or_a_test_is_found(tests: Proofs) -> None:
    class Unexplained(StrEnum):
        WORD = "word"

    Unexplained.__name__ = "RunState"
    with pytest.raises(Unproven, match=r"RunState\.WORD has no sentence"):
        words(Unexplained, "state", tests)
    with pytest.raises(Unproven, match="there is no test"):
        words(RunState, "state", Proofs(Path("nowhere")))


def test_what_is_said_below_a_member_is_its_meaning() -> None:
    assert set(meanings(RunState)) == {state.name for state in RunState}
    assert meanings(RunState)["STOPPED"] == "Somebody stopped it."
