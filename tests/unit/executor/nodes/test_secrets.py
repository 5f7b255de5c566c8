"""Facts about secrets: where they come from, and that they are not shown."""

from pathlib import Path

import pytest

from weftline_executor.nodes import SecretMissing, Secrets, SecretUnreadable
from weftline_executor.nodes.secrets import MAX_BYTES


def test_a_secret_comes_from_the_environment_before_a_file(tmp_path: Path) -> None:
    (tmp_path / "TOKEN").write_text("from file")
    assert Secrets({"WEFTLINE_SECRET_TOKEN": "from environment"}, tmp_path)["TOKEN"] == "from environment"
    assert Secrets({}, tmp_path)["TOKEN"] == "from file"


@pytest.mark.parametrize(
    ("content", "value"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("", "")]
)
def test_a_file_loses_only_its_last_line_break(tmp_path: Path, content: str, value: str) -> None:
    (tmp_path / "TOKEN").write_bytes(content.encode())
    assert Secrets({}, tmp_path)["TOKEN"] == value


def test_a_changed_file_is_seen_at_the_next_use(tmp_path: Path) -> None:
    secrets = Secrets({}, tmp_path)
    for value in ("old", "new"):
        (tmp_path / "TOKEN").write_text(value)
        assert secrets["TOKEN"] == value


def test_a_missing_secret_is_named_with_the_places_that_were_looked_at(tmp_path: Path) -> None:
    secrets = Secrets({"WEFTLINE_SECRET_OTHER": "x"}, tmp_path)
    with pytest.raises(SecretMissing, match="WEFTLINE_SECRET_TOKEN") as caught:
        secrets["TOKEN"]
    assert caught.value.name == "TOKEN"
    assert str(tmp_path / "TOKEN") in str(caught.value)
    assert secrets.get("TOKEN") is None
    assert "TOKEN" not in secrets


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "..", "a/b", ""])
def test_a_name_does_not_lead_out_of_the_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(SecretMissing):
        Secrets({}, inside)[name]


def test_the_names_are_listed_without_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "B").write_text("x")
    (tmp_path / "..data").mkdir()
    secrets = Secrets({"WEFTLINE_SECRET_A": "x", "PATH": "/bin"}, tmp_path)
    assert list(secrets) == ["A", "B"]
    assert len(secrets) == 2


def test_a_value_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "BINARY").write_bytes(b"hunter2\xff")
    secrets = Secrets({"WEFTLINE_SECRET_A": "hunter2"}, tmp_path)
    assert "hunter2" not in repr(secrets)
    with pytest.raises(SecretUnreadable, match="not UTF-8") as caught:
        secrets["BINARY"]
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "BIG").write_text("x" * (MAX_BYTES + 1))
    with pytest.raises(SecretUnreadable, match="larger than"):
        Secrets({}, tmp_path)["BIG"]
