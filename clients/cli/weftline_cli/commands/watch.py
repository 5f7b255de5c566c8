"""`weftline watch`: shows what happens in one workflow, or in all."""

import asyncio
from typing import Final

import click

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import runtime
from weftline_cli.bookmark import Bookmark, WatchPlan
from weftline_cli.client import ExecutorClient
from weftline_cli.errors import InterruptedCommandError, UsageError
from weftline_cli.follow import ReconnectPolicy, follow
from weftline_cli.options import Output, common, pass_output, reconnect_for
from weftline_cli.outcome import Outcome
from weftline_cli.screens.choice import choose_screen
from weftline_cli.view import FINAL_STATES
from weftline_cli.watching import Ending, RunWatch, show_all

SNAPSHOT: Final = "snapshot"
HINT: Final = "Stopped watching; runs go on."


@click.command(short_help="Show what happens in a workflow, or in all, live.")
@click.argument("workflow_id", metavar="[ID]", required=False)
@click.option("--all", "all_workflows", is_flag=True, help="Watch every workflow.")
@click.option(
    "--from",
    "begin",
    metavar="SEQ|start|now|snapshot",
    default=SNAPSHOT,
    show_default=True,
    help="Begin after this seq, at the first event that is kept, with what comes, or with the whole state.",
)
@click.option("--no-telemetry", is_flag=True, help="Leave progress out.")
@click.option("--until-end", is_flag=True, help="End when the run has ended, with its exit code.")
@reconnect_for
@common
@pass_output
@click.pass_context
def watch(
    context: click.Context,
    output: Output,
    *,
    workflow_id: str | None,
    all_workflows: bool,
    begin: str,
    no_telemetry: bool,
    until_end: bool,
    patience_s: float,
) -> None:
    """Show what happens in the workflow ID (or in --all), live, until Ctrl-C."""
    if bool(workflow_id) == all_workflows:
        raise UsageError("watch takes a workflow's id, or --all.")
    if all_workflows and (until_end or begin not in (SNAPSHOT, "now")):
        raise UsageError("--all can't be combined with --until-end, --from SEQ or --from start.")
    policy = ReconnectPolicy(patience_s)
    start = ws.WATCH_FROM_NOW if begin == "now" else ws.WATCH_FROM_SNAPSHOT
    plan = WatchPlan(workflow_id=workflow_id or "", start=start, telemetry=not no_telemetry)
    if all_workflows:
        runtime.run(_watch_all(output, plan, policy))
        return
    outcome = runtime.run(_watch_one(output, plan, _seq_of(begin), until_end, policy))
    context.exit(outcome.exit_code if until_end else 0)


def _seq_of(begin: str) -> int | None:
    """Return the seq to begin after; None when the beginning is not a seq. Raises UsageError for what is neither."""
    if begin in (SNAPSHOT, "now"):
        return None
    if begin == "start":
        return 0
    if begin.isdecimal():
        return int(begin)
    raise UsageError(f"--from takes a seq, start, now or {SNAPSHOT}, not {begin!r}.")


async def _watch_all(output: Output, plan: WatchPlan, policy: ReconnectPolicy) -> None:
    async with ExecutorClient(output.executor) as client:
        try:
            await show_all(choose_screen(output, all_workflows=True), follow(client, Bookmark(plan), policy))
        except asyncio.CancelledError:
            raise InterruptedCommandError(hint=HINT) from None


async def _watch_one(
    output: Output, plan: WatchPlan, seq: int | None, until_end: bool, policy: ReconnectPolicy
) -> Outcome:
    must_exist = "" if plan.start == ws.WATCH_FROM_NOW else plan.workflow_id
    ending = Ending(any_run=until_end, must_exist=must_exist)
    async with ExecutorClient(output.executor) as client:
        if seq is not None:
            plan, ending = await _from_seq(client, plan, seq, until_end)
        items = follow(client, Bookmark(plan), policy, until_head=plan.until_head)
        try:
            return await RunWatch(choose_screen(output), ending).run(items)
        except asyncio.CancelledError:
            raise InterruptedCommandError(hint=HINT) from None


async def _from_seq(client: ExecutorClient, plan: WatchPlan, seq: int, until_end: bool) -> tuple[WatchPlan, Ending]:
    """Return the plan and ending of a watch of the past after `seq` and of what comes.

    The newest run decides the end: when it has ended already, so does the watch, at the head.
    """
    newest = (await client.get(plan.workflow_id)).snapshot
    ended = newest.state in FINAL_STATES
    cursor = WatchPlan(
        workflow_id=plan.workflow_id,
        start=ws.WATCH_FROM_CURSOR,
        epoch=newest.epoch,
        seq=seq,
        telemetry=plan.telemetry,
        until_head=until_end and ended,
    )
    if not until_end:
        return cursor, Ending()
    return cursor, Ending(known=newest.state) if ended else Ending(run_id=newest.run_id, past=newest.seq)
