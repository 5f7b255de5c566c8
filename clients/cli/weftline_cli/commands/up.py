"""`weftline up`: the executor and the bridge on this machine, and a first workflow, with one command."""

from pathlib import Path
from typing import Final

import click
from rich.text import Text

from weftline_cli import runtime, text
from weftline_cli.address import Address
from weftline_cli.client import ExecutorClient
from weftline_cli.commands.begun import watch_begun
from weftline_cli.definition import Definition, load, workflow_id_of
from weftline_cli.errors import InterruptedCommandError, UsageError
from weftline_cli.follow import ReconnectPolicy
from weftline_cli.options import Output, common, pass_output
from weftline_cli.outcome import Outcome
from weftline_cli.stack.plan import StackPlan

PATIENCE_S: Final = 60.0


@click.command(short_help="Start the executor and the bridge here, and serve.")
@click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".weftline"),
    show_default=True,
    help="Where runs and logs are kept.",
)
@click.option("--run", "file", metavar="FILE", help="Run this workflow, or join its active run.")
@click.option("--once", is_flag=True, help="End when the run has ended, with its exit code.")
@click.option("--executor-listen", metavar="HOST:PORT", default="127.0.0.1:50051", show_default=True, help="gRPC.")
@click.option("--executor-metrics", metavar="HOST:PORT", default="127.0.0.1:9102", show_default=True, help="Metrics.")
@click.option(
    "--bridge-listen", metavar="HOST:PORT", default="127.0.0.1:8080", show_default=True, help="WebSocket, HTTP."
)
@click.option("--bridge-metrics", metavar="HOST:PORT", default="127.0.0.1:9101", show_default=True, help="Metrics.")
@click.option("--nodes", metavar="MODULE", multiple=True, help="A Python module with node types; repeatable.")
@common
@pass_output
@click.pass_context
def up(
    context: click.Context,
    output: Output,
    *,
    data_dir: Path,
    file: str | None,
    once: bool,
    executor_listen: str,
    executor_metrics: str,
    bridge_listen: str,
    bridge_metrics: str,
    nodes: tuple[str, ...],
) -> None:
    """Start the executor and the bridge here, and serve until Ctrl-C.

    What was running when they ended, in whatever way, goes on when they are started again on the same data directory.
    """
    if once and file is None:
        raise UsageError("--once goes with --run FILE.")
    plan = StackPlan(
        data_dir=data_dir.absolute(),
        executor=Address.parse(executor_listen, "--executor-listen"),
        executor_metrics=Address.parse(executor_metrics, "--executor-metrics"),
        bridge=Address.parse(bridge_listen, "--bridge-listen"),
        bridge_metrics=Address.parse(bridge_metrics, "--bridge-metrics"),
        nodes=nodes,
    )
    workflow = None if file is None else (workflow_id_of(file, None), load(file).with_conflict_policy("attach"))
    output.executor = str(plan.executor.dial)
    try:
        outcome = runtime.run(_up(output, plan, workflow, once))
    except InterruptedCommandError as error:
        if once:
            raise
        output.note(error.hint or "Stopped.")
        return
    context.exit(outcome.exit_code)


async def _up(output: Output, plan: StackPlan, workflow: tuple[str, Definition] | None, once: bool) -> Outcome:
    # The stack is loaded here because it needs what only an installation with the services has.
    from weftline_cli.stack.stack import Stack  # noqa: PLC0415

    def echo(name: str, line: str) -> None:
        output.errors.print(Text.assemble((f"{name}: ", "bold"), text.one_line(line)), soft_wrap=True)

    async with Stack(plan, echo) as stack:
        _announce(output, plan)
        if workflow is not None:
            outcome = await stack.guard(_run(output, *workflow))
            if once:
                return outcome
        if not output.as_json:
            output.say("Serving; Ctrl-C ends it.")
        await stack.serve()
        raise AssertionError("serving ends only by an exception")


async def _run(output: Output, workflow_id: str, definition: Definition) -> Outcome:
    async with ExecutorClient(output.executor, plaintext=True) as client:
        started = await client.start(workflow_id, definition)
        if started.attached and not output.as_json:
            output.say(f"Joined the active run {started.result.run_id} of {started.result.workflow_id}.")
        try:
            policy = ReconnectPolicy(PATIENCE_S)
            return await watch_begun(client, started.result, output, policy, attached=started.attached)
        except InterruptedCommandError:
            hint = "Stopped. The run goes on with the next weftline up on the same data directory."
            raise InterruptedCommandError(hint=hint) from None


def _announce(output: Output, plan: StackPlan) -> None:
    bridge, executor = plan.bridge.dial, plan.executor.dial
    places = {
        "websocket": f"ws://{bridge}",
        "page": f"http://{bridge}/",
        "workflows": f"http://{bridge}/api/workflows",
        "connections": f"http://{bridge}/api/connections",
        "grpc": str(executor),
        "executorMetrics": f"http://{plan.executor_metrics.dial}/metrics",
        "bridgeMetrics": f"http://{plan.bridge_metrics.dial}/metrics",
        "dataDir": str(plan.data_dir),
    }
    if output.as_json:
        output.row({"type": "up.ready", **places})
        return
    names = {"executorMetrics": "executor metrics", "bridgeMetrics": "bridge metrics", "dataDir": "data directory"}
    for key, place in places.items():
        output.say(Text.assemble((f"{names.get(key, key):<17}", "dim"), place))
