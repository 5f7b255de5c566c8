"""`weftline pause`, `resume`, `stop` and `retry`: commands to the newest run of a workflow."""

from collections.abc import Awaitable, Callable
from typing import Final

import click

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import runtime, text
from weftline_cli.client import ExecutorClient
from weftline_cli.messages import command_row
from weftline_cli.options import Output, common, pass_output

PAUSE_MODES: Final = {"drain": ws.PAUSE_MODE_DRAIN, "immediate": ws.PAUSE_MODE_IMMEDIATE}
STOP_MODES: Final = {"graceful": ws.STOP_MODE_GRACEFUL, "terminate": ws.STOP_MODE_TERMINATE}

_reason = click.option("--reason", default="", help="Why, in your words; it is kept with the run.")


@click.command(short_help="Let no further node of a workflow start.")
@click.argument("workflow_id", metavar="ID")
@click.option(
    "--mode",
    type=click.Choice(list(PAUSE_MODES)),
    default="drain",
    show_default=True,
    help="What becomes of running nodes.",
)
@_reason
@common
@pass_output
def pause(output: Output, workflow_id: str, mode: str, reason: str) -> None:
    """Let no further node of the workflow ID start.

    Running nodes finish (drain), or are cancelled and start again on resume (immediate).
    """
    _command(output, lambda client: client.pause(workflow_id, PAUSE_MODES[mode], reason))


@click.command(short_help="Go on with a paused workflow.")
@click.argument("workflow_id", metavar="ID")
@_reason
@common
@pass_output
def resume(output: Output, workflow_id: str, reason: str) -> None:
    """Go on with the paused workflow ID."""
    _command(output, lambda client: client.resume(workflow_id, reason))


@click.command(short_help="End the active run of a workflow.")
@click.argument("workflow_id", metavar="ID")
@click.option(
    "--mode",
    type=click.Choice(list(STOP_MODES)),
    default="graceful",
    show_default=True,
    help="Whether cancelled nodes may clean up.",
)
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=None,
    help="How long they may take; 30 when not given. Graceful only.",
)
@_reason
@common
@pass_output
def stop(output: Output, workflow_id: str, mode: str, grace: float | None, reason: str) -> None:
    """End the active run of the workflow ID."""
    if grace is not None and mode != "graceful":
        raise click.UsageError("--grace goes with --mode graceful only.")
    grace_ms = None if grace is None else round(grace * 1000)
    _command(output, lambda client: client.stop(workflow_id, STOP_MODES[mode], reason, grace_ms))


@click.command(short_help="Run again what failed in a workflow.")
@click.argument("workflow_id", metavar="ID")
@_reason
@common
@pass_output
def retry(output: Output, workflow_id: str, reason: str) -> None:
    """Run the failed and cancelled nodes of the workflow ID again, and what they cut off.

    The newest run goes on under its id, once it has failed or was stopped; what succeeded stays.
    """
    _command(output, lambda client: client.retry(workflow_id, reason))


def _command(output: Output, call: Callable[[ExecutorClient], Awaitable[ws.CommandResult]]) -> None:
    async def command() -> ws.CommandResult:
        async with ExecutorClient(output.executor) as client:
            return await call(client)

    result = runtime.run(command())
    if output.as_json:
        output.row(command_row(result))
    else:
        output.say(f"{result.workflow_id} is {text.run_state(result.state)} (run {result.run_id}).")
