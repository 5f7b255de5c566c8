"""docs/cli.md describes the command line that there is: its commands, options and exit codes."""

import re

import click
import pytest

from tests.repository.layout import ROOT
from weftline_cli.cli import EPILOG, cli
from weftline_cli.errors import ExitCode

PAGE = (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_page_has_every_command_with_every_option(name: str) -> None:
    assert re.search(rf"^##.*`weftline {name}\b", PAGE, re.MULTILINE)
    options = [option for option in cli.commands[name].params if isinstance(option, click.Option)]
    missing = [option.opts[0] for option in options if not re.search(rf"{option.opts[0]}\b", PAGE)]
    assert missing == []


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_says_what_it_does_and_takes_json(name: str) -> None:
    command = cli.commands[name]
    assert command.help
    assert command.short_help
    assert "--json" in {opt for parameter in command.params for opt in parameter.opts}


def test_the_page_and_the_help_list_the_exit_codes_that_there_are() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == {int(code) for code in ExitCode}
    helped = {int(code) for code in re.findall(r"\b(\d+)\b", EPILOG)}
    assert helped == listed
