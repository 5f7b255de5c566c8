"""`weftline run`: starts a workflow and watches the run to its end."""

import asyncio
from typing import Any

import click

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import runtime, text
from weftline_cli.bookmark import Bookmark, WatchPlan
from weftline_cli.client import ExecutorClient
from weftline_cli.definition import Definition, load, parse_param, workflow_id_of
from weftline_cli.errors import InterruptedCommandError
from weftline_cli.follow import ReconnectPolicy, follow
from weftline_cli.messages import command_row
from weftline_cli.options import Output, common, pass_output
from weftline_cli.outcome import Outcome
from weftline_cli.screens.choice import choose_screen
from weftline_cli.watching import Ending, RunWatch


@click.command(short_help="Start a workflow and watch the run to its end.")
@click.argument("file")
@click.option("--id", "given_id", metavar="ID", help="The workflow's id; the file's stem when not given, minted for -.")
@click.option(
    "--param", "params", metavar="NAME=VALUE", multiple=True, help="Set a run parameter; JSON keeps its type."
)
@click.option("--detach", is_flag=True, help="Start the run and end at once.")
@click.option(
    "--reconnect-for",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long to try again when the connection breaks.",
)
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
    reconnect_for: float,
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
    outcome = runtime.run(_start_and_watch(output, workflow_id, definition, ReconnectPolicy(reconnect_for)))
    context.exit(outcome.exit_code)


async def _start_only(output: Output, workflow_id: str, definition: Definition) -> None:
    async with ExecutorClient(output.executor) as client:
        started = await client.start(workflow_id, definition)
    result = started.result
    if output.as_json:
        output.row({**command_row(result), "attached": started.attached})
        return
    word = "Joined" if started.attached else "Started"
    output.say(f"{word} {result.workflow_id}, run {result.run_id}. Watch it: weftline watch {result.workflow_id}")


async def _start_and_watch(
    output: Output, workflow_id: str, definition: Definition, policy: ReconnectPolicy
) -> Outcome:
    async with ExecutorClient(output.executor) as client:
        started = await client.start(workflow_id, definition)
        return await watch_started(client, started, output, policy)


async def watch_started(
    client: ExecutorClient, started: ws.StartWorkflowResponse, output: Output, policy: ReconnectPolicy
) -> Outcome:
    """Watch the run of a start to its end, from its first event, or from the whole state when an active run was joined.

    Raises InterruptedCommandError, saying that the run goes on, when it is cancelled.
    """
    result = started.result
    plan = WatchPlan(
        workflow_id=result.workflow_id,
        start=ws.WATCH_FROM_SNAPSHOT if started.attached else ws.WATCH_FROM_CURSOR,
        epoch=result.epoch,
        seq=max(0, result.seq - 1),
    )
    watch = RunWatch(choose_screen(output), Ending(run_id=result.run_id))
    try:
        outcome = await watch.run(follow(client, Bookmark(plan), policy, reached=True))
    except asyncio.CancelledError:
        hint = f"The run goes on. Stop it: weftline stop {result.workflow_id}"
        raise InterruptedCommandError(hint=hint) from None
    if outcome.state:
        return outcome
    return await _look_up(client, outcome, output)


async def _look_up(client: ExecutorClient, outcome: Outcome, output: Output) -> Outcome:
    """Return how a run ended whose end was not seen because a newer one took its place."""
    found = await client.find_run(outcome.workflow_id, outcome.run_id)
    if found is None:
        output.note(f"Run {outcome.run_id} was replaced by a newer one; how it ended is not kept.")
        return outcome
    output.note(f"Run {outcome.run_id} ended with {text.run_state(found.state)}; a newer one took its place.")
    return Outcome(outcome.workflow_id, outcome.run_id, found.state)
