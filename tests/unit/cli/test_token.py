"""The token for the bridge comes from an option, a file, or the environment."""

from pathlib import Path

import pytest

from weftline_cli.errors import UsageError
from weftline_cli.token import TokenSource


def test_what_was_given_goes_before_the_environment_and_the_token_before_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    environment = {"WEFTLINE_TOKEN": " from-variable ", "WEFTLINE_TOKEN_FILE": str(file)}
    assert TokenSource.choose("given", "", environment).read() == "given"
    assert TokenSource.choose("", str(file), environment).read() == "from-file"
    assert TokenSource.choose("", "", environment).read() == "from-variable"
    del environment["WEFTLINE_TOKEN"]
    assert TokenSource.choose("", "", environment).headers() == {"Authorization": "Bearer from-file"}
    assert TokenSource.choose("", "", {}).headers() == {}


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    source = TokenSource.choose("", str(file), {})
    assert source.read() == "first"
    file.write_text("second")
    assert source.read() == "second"


@pytest.mark.parametrize("content", ["", "two words", "line\nbreak", "caf\u00e9", "a\x00b"])
def test_what_is_no_token_is_bad_usage_and_is_not_repeated(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(UsageError) as caught:
        TokenSource.choose("", str(file), {}).read()
    assert not content or content not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        TokenSource.choose("", str(tmp_path / "nowhere"), {}).read()


def test_two_tokens_are_one_too_many() -> None:
    with pytest.raises(UsageError):
        TokenSource.choose("a", "b", {})
