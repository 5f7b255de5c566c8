"""Watches the run that a command began to its end."""

import asyncio

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import text
from weftline_cli.bookmark import WatchPlan
from weftline_cli.client import ExecutorClient
from weftline_cli.errors import InterruptedCommandError
from weftline_cli.executor_watch import ExecutorWatch
from weftline_cli.follow import ReconnectPolicy, follow
from weftline_cli.options import Output
from weftline_cli.outcome import Outcome
from weftline_cli.screens.choice import choose_screen
from weftline_cli.watching import Ending, RunWatch


async def watch_begun(
    client: ExecutorClient,
    result: ws.CommandResult,
    output: Output,
    policy: ReconnectPolicy,
    *,
    attached: bool = False,
) -> Outcome:
    """Watch a run to its end, from its first event, or from the whole state when an active run was joined.

    Raises InterruptedCommandError, saying that the run goes on, when it is cancelled.
    """
    plan = WatchPlan(
        workflow_id=result.workflow_id,
        start=ws.WATCH_FROM_SNAPSHOT if attached else ws.WATCH_FROM_CURSOR,
        epoch=result.epoch,
        seq=max(0, result.seq - 1),
    )
    watch = RunWatch(choose_screen(output), Ending(run_id=result.run_id))
    try:
        outcome = await watch.run(follow(ExecutorWatch(client, plan), policy, reached=True))
    except asyncio.CancelledError:
        hint = f"The run goes on. Stop it: weftline stop {result.workflow_id}"
        raise InterruptedCommandError(hint=hint) from None
    if outcome.state:
        return outcome
    return await _look_up(client, outcome, output)


def say_begun(output: Output, word: str, result: ws.CommandResult) -> None:
    """Say that a run was begun (`word`: how) and is not watched, and how to watch it."""
    output.say(f"{word} {result.workflow_id}, run {result.run_id}. Watch it: weftline watch {result.workflow_id}")


async def _look_up(client: ExecutorClient, outcome: Outcome, output: Output) -> Outcome:
    """Return how a run ended whose end was not seen because a newer one took its place."""
    found = await client.find_run(outcome.workflow_id, outcome.run_id)
    if found is None:
        output.note(f"Run {outcome.run_id} was replaced by a newer one; how it ended is not kept.")
        return outcome
    output.note(f"Run {outcome.run_id} ended with {text.run_state(found.state)}; a newer one took its place.")
    return Outcome(outcome.workflow_id, outcome.run_id, found.state)
