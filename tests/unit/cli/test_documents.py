"""docs/cli.md describes the command line that there is: its commands, options and exit codes."""

import re
from collections.abc import Iterator, Mapping

import click
import pytest

from tests.repository.layout import ROOT
from weftline_cli.cli import EPILOG, cli
from weftline_cli.errors import ExitCode

PAGE = (ROOT / "docs" / "cli.md").read_text()


def leaves(commands: Mapping[str, click.Command], prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands that do something, by the words that call them."""
    for name, command in commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command.commands, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


LEAVES = dict(leaves(cli.commands))


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_page_has_every_command_with_every_option(name: str) -> None:
    assert re.search(rf"^##.*`weftline {name}\b", PAGE, re.MULTILINE)
    own = [command for words, command in LEAVES.items() if words.split()[0] == name]
    options = [option for command in own for option in command.params if isinstance(option, click.Option)]
    missing = [option.opts[0] for option in options if not re.search(rf"{option.opts[0]}\b", PAGE)]
    assert missing == []


@pytest.mark.parametrize("words", sorted(LEAVES))
def test_every_command_says_what_it_does_and_takes_json(words: str) -> None:
    command = LEAVES[words]
    assert command.help
    assert command.short_help
    assert "--json" in {opt for parameter in command.params for opt in parameter.opts}


def test_the_page_and_the_help_list_the_exit_codes_that_there_are() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == {int(code) for code in ExitCode}
    helped = {int(code) for code in re.findall(r"\b(\d+)\b", EPILOG)}
    assert helped == listed
