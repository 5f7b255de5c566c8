"""What every command has in common: where the executor is, `--json`, and where words go."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.text import Text

from weftline_cli import text
from weftline_cli.bridge_api import DEFAULT_BRIDGE
from weftline_cli.errors import CliError, InterruptedCommandError, InvalidWorkflowError, StackError, fault_data
from weftline_cli.messages import encode

DEFAULT_EXECUTOR: Final = "127.0.0.1:50051"
WIDTH_OF_A_FILE: Final = 400

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(slots=True)
class Output:
    """Where a command writes: rows and human text to standard output, errors to standard error."""

    executor: str = DEFAULT_EXECUTOR
    as_json: bool = False
    console: Console = field(default_factory=lambda: _console(stderr=False))
    errors: Console = field(default_factory=lambda: _console(stderr=True))

    def row(self, row: Mapping[str, Any]) -> None:
        """Write one line of NDJSON."""
        print(encode(row), flush=True)

    def say(self, *lines: object) -> None:
        """Write human text; a string is taken as it is, without markup."""
        for each in lines:
            self.console.print(each, markup=False, soft_wrap=isinstance(each, str | Text))

    def note(self, words: str) -> None:
        """Write words about the command itself to standard error."""
        self._error_line(Text(words))

    def error(self, error: CliError) -> None:
        """Write an error: as sentences, or as one JSON object with `--json`."""
        if self.as_json:
            body = {"code": error.code, "message": str(error), **error.data()}
            print(encode({"error": body}), file=sys.stderr, flush=True)
            return
        if isinstance(error, InterruptedCommandError):
            self.note(str(error))
            return
        self._error_line(Text.assemble(("error: ", "bold red"), text.plain(str(error))))
        if isinstance(error, InvalidWorkflowError):
            for fault in error.faults:
                self._error_line(fault_line(fault_data(fault)))
        if isinstance(error, StackError):
            for tail in error.tail:
                self._error_line(Text(f"  | {text.plain(tail)}", "dim"))

    def _error_line(self, line: Text) -> None:
        self.errors.print(line, soft_wrap=True)


def fault_line(fault: Mapping[str, str]) -> Text:
    """Return the line that says a fault: its path, code, sentence and node."""
    node = f"  (node {text.one_line(fault['nodeId'])})" if fault["nodeId"] else ""
    path = text.one_line(fault["path"]) or "workflow"
    return Text.assemble(
        "  ", (path, "bold"), "  ", (fault["code"], "yellow"), "  ", text.one_line(fault["message"]), (node, "cyan")
    )


def common(function: Function) -> Function:
    """Give a command the options `--executor` and `--json`; they are set on the Output that it gets."""
    for option in (
        click.option(
            "--json", is_flag=True, expose_value=False, callback=_set_json, is_eager=True,
            help="Print NDJSON: one object a line on standard output, and nothing else.",
        ),
        click.option(
            "--executor", metavar="HOST:PORT", expose_value=False, callback=_set_executor,
            help=f"The executor to talk to; WEFTLINE_EXECUTOR, else {DEFAULT_EXECUTOR}.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


reconnect_for = click.option(
    "--reconnect-for",
    "patience_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long to try again when the connection breaks.",
)
"""The option of what watches; its value is the parameter `patience_s`."""

bridge_option = click.option(
    "--bridge",
    metavar="URL",
    envvar="WEFTLINE_BRIDGE",
    default=DEFAULT_BRIDGE,
    show_default=True,
    show_envvar=True,
    help="The bridge to talk to; WEFTLINE_TOKEN is the token, if it asks for one.",
)
"""The option of what talks to the bridge; its value is the parameter `bridge`."""

pass_output = click.make_pass_decorator(Output, ensure=True)


def pretty_json(value: Any) -> str:
    """Return a value as indented JSON that can't steer a terminal."""
    return text.plain(json.dumps(value, ensure_ascii=False, indent=2))


def _console(*, stderr: bool) -> Console:
    """Return a console as wide as the terminal; where there is none, wide enough that no table is folded."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    return console


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Output).as_json = True


def _set_executor(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Output).executor = value
