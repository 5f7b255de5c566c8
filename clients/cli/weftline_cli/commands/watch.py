"""`weftline watch`: shows what happens in one workflow, or in all, by gRPC or over the bridge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import click

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import runtime
from weftline_cli.bookmark import WatchPlan
from weftline_cli.bridge_api import bridge_socket_url
from weftline_cli.bridge_watch.watch import Bridge
from weftline_cli.client import ExecutorClient
from weftline_cli.errors import InterruptedCommandError, NotFoundError, UsageError
from weftline_cli.executor_watch import ExecutorWatch
from weftline_cli.follow import ReconnectPolicy, follow
from weftline_cli.items import Connected, Replaced, Watch
from weftline_cli.options import Output, common, pass_output, reconnect_for
from weftline_cli.outcome import Outcome
from weftline_cli.screens.choice import choose_screen
from weftline_cli.tls import context_from_environment, server_name
from weftline_cli.token import TokenSource
from weftline_cli.view import FINAL_STATES, RunView
from weftline_cli.watching import Ending, RunWatch, show_all

SNAPSHOT: Final = "snapshot"
HINT: Final = "Stopped watching; runs go on."
BRIDGE_FIRST_S: Final = 0.5
BRIDGE_CEILING_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class _Transport:
    """How events come: `state` asks for that of a workflow, `watch` begins a watch, `policy` is for broken ones."""

    state: Callable[[str], Awaitable[ws.WorkflowSnapshot]]
    watch: Callable[[WatchPlan], Watch]
    policy: ReconnectPolicy


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
@click.option("--bridge", metavar="URL", help="Watch over the bridge there, by WebSocket, instead of by gRPC.")
@click.option("--token", metavar="TOKEN", default="", help="For the bridge; others on this machine can see it.")
@click.option(
    "--token-file", metavar="FILE", default="", help="What holds it; else WEFTLINE_TOKEN or WEFTLINE_TOKEN_FILE."
)
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
    bridge: str | None,
    token: str,
    token_file: str,
    patience_s: float,
) -> None:
    """Show what happens in the workflow ID (or in --all), live, until Ctrl-C."""
    if bool(workflow_id) == all_workflows:
        raise UsageError("watch takes a workflow's id, or --all.")
    if all_workflows and (until_end or begin not in (SNAPSHOT, "now")):
        raise UsageError("--all can't be combined with --until-end, --from SEQ or --from start.")
    if (token or token_file) and bridge is None:
        raise UsageError("--token and --token-file are for --bridge.")
    start = ws.WATCH_FROM_NOW if begin == "now" else ws.WATCH_FROM_SNAPSHOT
    plan = WatchPlan(workflow_id=workflow_id or "", start=start, telemetry=not no_telemetry)
    seq = _seq_of(begin)
    called = None if bridge is None else _bridge_at(bridge, TokenSource.choose(token, token_file))
    outcome = runtime.run(_watch(output, called, plan, seq, until_end, patience_s))
    context.exit(outcome.exit_code if outcome is not None and until_end else 0)


def _seq_of(begin: str) -> int | None:
    """Return the seq to begin after; None when the beginning is not a seq. Raises UsageError for what is neither."""
    if begin in (SNAPSHOT, "now"):
        return None
    if begin == "start":
        return 0
    if begin.isdecimal():
        return int(begin)
    raise UsageError(f"--from takes a seq, start, now or {SNAPSHOT}, not {begin!r}.")


def _bridge_at(given: str, token: TokenSource) -> Bridge:
    """Return the bridge at a URL; raises UsageError for what is none, and for a token or files that can't be read."""
    url = bridge_socket_url(given)
    token.read()
    if not url.startswith("wss:"):
        return Bridge(url, token)
    return Bridge(url, token, context_from_environment(), server_name())


@asynccontextmanager
async def _transport(output: Output, bridge: Bridge | None, patience_s: float) -> AsyncIterator[_Transport]:
    if bridge is not None:
        policy = ReconnectPolicy(patience_s, BRIDGE_FIRST_S, BRIDGE_CEILING_S)
        yield _Transport(lambda workflow_id: _state_over(bridge, workflow_id, policy), bridge.watch, policy)
        return
    async with ExecutorClient(output.executor) as client:

        async def state(workflow_id: str) -> ws.WorkflowSnapshot:
            return (await client.get(workflow_id)).snapshot

        yield _Transport(state, lambda plan: ExecutorWatch(client, plan), ReconnectPolicy(patience_s))


async def _state_over(bridge: Bridge, workflow_id: str, policy: ReconnectPolicy) -> ws.WorkflowSnapshot:
    """Return what the bridge begins a watch with; raises NotFoundError when the workflow has no run."""
    async with aclosing(follow(bridge.watch(WatchPlan(workflow_id, telemetry=False)), policy)) as items:
        async for item in items:
            if isinstance(item, Replaced):
                return _folded(item)
            if isinstance(item, Connected) and not item.exists:
                break
    raise NotFoundError(f"No run of workflow {workflow_id!r} is known.")


def _folded(item: Replaced) -> ws.WorkflowSnapshot:
    """Return a state with what decides a watch brought up to the events since: the seq, the run, and its state."""
    view = RunView()
    view.replace(item.snapshot, 0)
    newest = ws.WorkflowSnapshot()
    newest.CopyFrom(item.snapshot)
    for event in item.since:
        view.apply(event, 0)
        newest.seq = event.seq or newest.seq
    newest.run_id, newest.state = view.run_id, view.state
    return newest


async def _watch(
    output: Output, bridge: Bridge | None, plan: WatchPlan, seq: int | None, until_end: bool, patience_s: float
) -> Outcome | None:
    async with _transport(output, bridge, patience_s) as transport:
        try:
            if plan.workflow_id:
                return await _watch_one(output, transport, plan, seq, until_end)
            screen = choose_screen(output, all_workflows=True)
            await show_all(screen, follow(transport.watch(plan), transport.policy))
            return None
        except asyncio.CancelledError:
            raise InterruptedCommandError(hint=HINT) from None


async def _watch_one(
    output: Output, transport: _Transport, plan: WatchPlan, seq: int | None, until_end: bool
) -> Outcome:
    must_exist = "" if plan.start == ws.WATCH_FROM_NOW else plan.workflow_id
    ending = Ending(any_run=until_end, must_exist=must_exist)
    if seq is not None:
        newest = await transport.state(plan.workflow_id)
        plan, ending = _from_seq(newest, plan, seq, until_end)
    items = follow(transport.watch(plan), transport.policy, until_head=plan.until_head)
    return await RunWatch(choose_screen(output), ending).run(items)


def _from_seq(newest: ws.WorkflowSnapshot, plan: WatchPlan, seq: int, until_end: bool) -> tuple[WatchPlan, Ending]:
    """Return the plan and ending of a watch of the past after `seq` and of what comes.

    The newest run decides the end: when it has ended already, so does the watch, at the head.
    """
    ended = newest.state in FINAL_STATES
    cursor = WatchPlan(
        workflow_id=plan.workflow_id,
        start=ws.WATCH_FROM_CURSOR,
        epoch=newest.epoch,
        seq=seq,
        telemetry=plan.telemetry,
        until_head=until_end and ended,
        head=newest.seq,
    )
    if not until_end:
        return cursor, Ending()
    return cursor, Ending(known=newest.state) if ended else Ending(run_id=newest.run_id, past=newest.seq)
