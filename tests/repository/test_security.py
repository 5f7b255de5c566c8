"""docs/security.md names, for each threat, tests that exist."""

import re

import pytest

from scripts.generate_semantics import Proofs, Unproven
from tests.repository.layout import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
ROWS = [
    row
    for rows in re.findall(r"^\| threat \| .* \| shown by \|\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    for row in rows.splitlines()
]


@pytest.fixture(scope="module")
def tests() -> Proofs:
    return Proofs(ROOT / "tests")


def test_there_are_threats() -> None:
    assert len(ROWS) > 25
    assert len(ROWS) == len(set(ROWS))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_each_threat_is_met_and_a_test_shows_it(row: str, tests: Proofs) -> None:
    threat, met, shown = (cell.strip() for cell in row.strip("|").split("|"))
    assert threat
    assert met
    names = re.findall(r"`([^`]+)`", shown)
    assert names
    assert ", ".join(f"`{name}`" for name in names) == shown
    for name in names:
        assert name.startswith("test_")
        tests.link(name)


def test_a_test_that_nobody_wrote_is_found(tests: Proofs) -> None:
    with pytest.raises(Unproven):
        tests.link("test_that_nobody_wrote")
