"""The command `weftline` and its sub-commands."""

from typing import Any, Final

import click
from click.exceptions import Exit

from weftline_cli.commands.artifact import artifact
from weftline_cli.commands.complete import complete
from weftline_cli.commands.control import pause, resume, retry, stop
from weftline_cli.commands.convert import convert
from weftline_cli.commands.debug import debug
from weftline_cli.commands.inspect import get, ls, nodes, validate
from weftline_cli.commands.rerun import rerun
from weftline_cli.commands.run import run
from weftline_cli.commands.up import up
from weftline_cli.commands.watch import watch
from weftline_cli.errors import CliError, ExitCode, UsageError, exit_code
from weftline_cli.options import DEFAULT_EXECUTOR, Output

WANTS_JSON: Final = "weftline_cli.wants_json"
EPILOG: Final = """\b
Exit codes:
    0  success
    1  the run failed, or the command could not be carried out
    2  bad usage
    3  the workflow (or the file to convert) is not valid
    4  not found
    5  refused
    6  the executor, or the bridge, is not available
    7  the run was stopped
  130  interrupted by Ctrl-C (143 by SIGTERM)
"""


class _Commands(click.Group):
    """A group that turns the command line's own errors into sentences and exit codes."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        # A command line that can't be parsed has set no option, so its words are looked at.
        wants_json = "--json" in args
        try:
            context = super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            if not wants_json:
                raise
            Output(as_json=True).error(UsageError(error.format_message()))
            raise Exit(ExitCode.USAGE) from None
        context.meta[WANTS_JSON] = wants_json
        return context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if not ctx.meta[WANTS_JSON]:
                raise
            Output(as_json=True).error(UsageError(error.format_message()))
            ctx.exit(ExitCode.USAGE)
        except CliError as error:
            ctx.ensure_object(Output).error(error)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(ExitCode.INTERRUPTED)


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--executor",
    metavar="HOST:PORT",
    envvar="WEFTLINE_EXECUTOR",
    default=DEFAULT_EXECUTOR,
    show_default=True,
    show_envvar=True,
    help="The executor to talk to.",
)
@click.version_option(package_name="weftline")
@click.pass_context
def cli(context: click.Context, executor: str) -> None:
    """Run workflow graphs and watch every step of them, live."""
    context.ensure_object(Output).executor = executor


for _command in (
    *(up, run, watch, ls, get),
    *(pause, resume, stop, retry, rerun, complete, artifact),
    *(validate, nodes, convert, debug),
):
    cli.add_command(_command)
