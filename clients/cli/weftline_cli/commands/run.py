"""`weftline run`: starts a workflow and watches the run to its end."""

from typing import Any

import click

from weftline_cli import runtime
from weftline_cli.client import ExecutorClient
from weftline_cli.commands.begun import say_begun, watch_begun
from weftline_cli.definition import Definition, load, parse_param, workflow_id_of
from weftline_cli.follow import ReconnectPolicy
from weftline_cli.messages import command_row
from weftline_cli.options import Output, common, pass_output, reconnect_for
from weftline_cli.outcome import Outcome


@click.command(short_help="Start a workflow and watch the run to its end.")
@click.argument("file")
@click.option("--id", "given_id", metavar="ID", help="The workflow's id; the file's stem when not given, minted for -.")
@click.option(
    "--param", "params", metavar="NAME=VALUE", multiple=True, help="Set a run parameter; JSON keeps its type."
)
@click.option("--detach", is_flag=True, help="Start the run and end at once.")
@reconnect_for
@common
@pass_output
@click.pass_context
def run(
    context: click.Context,
    output: Output,
    *,
    file: str,
    given_id: str | None,
    params: tuple[str, ...],
    detach: bool,
    patience_s: float,
) -> None:
    """Start the workflow in FILE (JSON, - for standard input) and watch the run to its end.

    Ctrl-C ends the watching; the run goes on.
    """
    values: dict[str, Any] = dict(map(parse_param, params))
    workflow_id = workflow_id_of(file, given_id)
    definition = load(file).with_params(values)
    if detach:
        runtime.run(_start_only(output, workflow_id, definition))
        return
    outcome = runtime.run(_start_and_watch(output, workflow_id, definition, ReconnectPolicy(patience_s)))
    context.exit(outcome.exit_code)


async def _start_only(output: Output, workflow_id: str, definition: Definition) -> None:
    async with ExecutorClient(output.executor) as client:
        started = await client.start(workflow_id, definition)
    result = started.result
    if output.as_json:
        output.row({**command_row(result), "attached": started.attached})
        return
    say_begun(output, "Joined" if started.attached else "Started", result)


async def _start_and_watch(
    output: Output, workflow_id: str, definition: Definition, policy: ReconnectPolicy
) -> Outcome:
    async with ExecutorClient(output.executor) as client:
        started = await client.start(workflow_id, definition)
        return await watch_begun(client, started.result, output, policy, attached=started.attached)
