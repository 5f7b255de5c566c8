"""`weftline rerun`: begins a new run from a node on, with what the newest run gave before it."""

import click

from weftline_cli import runtime
from weftline_cli.client import ExecutorClient
from weftline_cli.commands.begun import say_begun, watch_begun
from weftline_cli.follow import ReconnectPolicy
from weftline_cli.messages import command_row
from weftline_cli.options import Output, common, pass_output, reconnect_for
from weftline_cli.outcome import Outcome


@click.command(short_help="Run a workflow again from a node on.")
@click.argument("workflow_id", metavar="ID")
@click.option("--from", "node_id", metavar="NODE", required=True, help="The first node that runs again.")
@click.option("--detach", is_flag=True, help="Begin the run and end at once.")
@reconnect_for
@common
@pass_output
@click.pass_context
def rerun(
    context: click.Context, output: Output, *, workflow_id: str, node_id: str, detach: bool, patience_s: float
) -> None:
    """Begin a new run of the workflow ID that takes over what the newest run gave, and watch it to its end.

    NODE and all that come after it run again, and so does what failed or never ran; the newest run has to have ended.
    """
    if detach:
        runtime.run(_begin_only(output, workflow_id, node_id))
        return
    outcome = runtime.run(_begin_and_watch(output, workflow_id, node_id, ReconnectPolicy(patience_s)))
    context.exit(outcome.exit_code)


async def _begin_only(output: Output, workflow_id: str, node_id: str) -> None:
    async with ExecutorClient(output.executor) as client:
        result = await client.rerun(workflow_id, node_id)
    if output.as_json:
        output.row(command_row(result))
    else:
        say_begun(output, "Began", result)


async def _begin_and_watch(output: Output, workflow_id: str, node_id: str, policy: ReconnectPolicy) -> Outcome:
    async with ExecutorClient(output.executor) as client:
        result = await client.rerun(workflow_id, node_id)
        return await watch_begun(client, result, output, policy)
