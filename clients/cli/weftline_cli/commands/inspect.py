"""`weftline ls`, `get`, `validate` and `nodes`: questions to the executor."""

from difflib import get_close_matches
from typing import Final

import click
from rich.text import Text

from weftline.v1 import workflow_service_pb2 as ws
from weftline_cli import plans, runtime, tables, text
from weftline_cli.client import ExecutorClient, faults_in
from weftline_cli.definition import Definition, load
from weftline_cli.errors import InvalidWorkflowError, NotFoundError, exit_code, fault_data
from weftline_cli.messages import node_type_row, snapshot_message, summary_row
from weftline_cli.options import Output, common, pass_output, pretty_json
from weftline_cli.view import RunView
from weftline_cli.watching import now_ms

STATES: Final = {word: state for state, word in text.RUN_STATES.items()}


@click.command(short_help="List workflows with their newest run.")
@click.option(
    "--state", "states", type=click.Choice(list(STATES)), multiple=True, help="Only in this state; repeatable."
)
@click.option("--prefix", default="", help="Only workflows whose id begins so.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@click.option("--bodies", is_flag=True, help="Also workflows that nodes run as their body.")
@common
@pass_output
def ls(output: Output, *, states: tuple[str, ...], prefix: str, limit: int, bodies: bool) -> None:
    """List workflows with their newest run, newest first."""
    request = ws.ListWorkflowsRequest(
        states=[STATES[state] for state in states], id_prefix=prefix, include_bodies=bodies
    )
    summaries, more = runtime.run(_list(output.executor, request, limit))
    if output.as_json:
        for summary in summaries:
            output.row(summary_row(summary))
    elif not summaries:
        output.say("No workflow has run here yet." if not states and not prefix else "No workflow fits.")
    else:
        output.say(tables.workflows_table(summaries, now_ms(), bodies=bodies))
        if more:
            output.say(Text(f"… and more; see them with --limit {limit * 2}", "dim"))


async def _list(executor: str, request: ws.ListWorkflowsRequest, limit: int) -> tuple[list[ws.RunSummary], bool]:
    found: list[ws.RunSummary] = []
    async with ExecutorClient(executor) as client:
        async for summary in client.workflows(request):
            if len(found) == limit:
                return found, True
            found.append(summary)
    return found, False


@click.command(short_help="Show the newest run of a workflow.")
@click.argument("workflow_id", metavar="ID")
@click.option("--nodes", "every", is_flag=True, help="List every node, however many there are.")
@common
@pass_output
def get(output: Output, workflow_id: str, every: bool) -> None:
    """Show the newest run of the workflow ID: state, nodes, why they wait or failed, and its critical path."""

    async def ask() -> ws.GetWorkflowResponse:
        async with ExecutorClient(output.executor) as client:
            return await client.get(workflow_id)

    answer = runtime.run(ask())
    if output.as_json:
        output.row({**snapshot_message(answer.snapshot), "criticalPath": plans.path_rows(answer.critical_path)})
        return
    now = now_ms()
    view = RunView()
    view.replace(answer.snapshot, now)
    output.say(*tables.run_lines(view, now))
    table, left_out = tables.nodes_table(view, now, every=every)
    if table.row_count:
        output.say("", table)
    if left_out:
        output.say(Text(f"{text.count(left_out, 'more node')}; list all with --nodes", "dim"))
    if answer.critical_path:
        output.say("", plans.path_table(answer.critical_path))


@click.command(short_help="Say all that is wrong with a workflow.")
@click.argument("file")
@click.option("--simulate", is_flag=True, help="Also say how a run would go, with the durations that are expected.")
@common
@pass_output
@click.pass_context
def validate(context: click.Context, output: Output, file: str, simulate: bool) -> None:
    """Say all that is wrong with the workflow in FILE (JSON, - for standard input), without running it."""
    try:
        found = runtime.run(_validate(output.executor, load(file), simulate))
    except InvalidWorkflowError as error:
        if not output.as_json:
            raise
        output.row({"valid": False, "faults": [fault_data(fault) for fault in error.faults]})
        context.exit(exit_code(error))
    if output.as_json:
        forecast = {"forecast": plans.forecast_row(found.forecast)} if found.HasField("forecast") else {}
        totals = {"totalNodes": found.total_nodes, "totalEdges": found.total_edges}
        output.row({"valid": True, "faults": [], **totals, **forecast})
        return
    size = f"{text.count(found.total_nodes, 'node')}, {text.count(found.total_edges, 'edge')}"
    output.say(f"{file} is valid: {size}.")
    if found.HasField("forecast"):
        output.say(*plans.forecast_lines(found.forecast, found.total_nodes))


async def _validate(executor: str, definition: Definition, simulate: bool) -> ws.ValidateWorkflowResponse:
    """Return what is said of a valid workflow; raises InvalidWorkflowError with all that is wrong with it."""
    async with ExecutorClient(executor) as client:
        answer = await client.validate(definition, simulate=simulate)
    if answer.faults:
        raise InvalidWorkflowError(definition.source, faults_in(answer, definition))
    return answer


@click.command(short_help="List the node types, or show one.")
@click.argument("name", required=False)
@common
@pass_output
def nodes(output: Output, name: str | None) -> None:
    """List the node types that the executor can run, or show the schema of the one called NAME."""

    async def ask() -> list[ws.NodeType]:
        async with ExecutorClient(output.executor) as client:
            return await client.node_types()

    node_types = runtime.run(ask())
    if name is not None:
        node_types = [_called(name, node_types)]
    if output.as_json:
        for node_type in node_types:
            output.row(node_type_row(node_type))
    elif name is None:
        output.say(tables.node_types_table(node_types))
    else:
        _show_node_type(output, node_types[0])


def _called(name: str, node_types: list[ws.NodeType]) -> ws.NodeType:
    for node_type in node_types:
        if node_type.name == name:
            return node_type
    near = get_close_matches(name, [node_type.name for node_type in node_types], n=1)
    advice = f" Did you mean {near[0]!r}?" if near else ""
    raise NotFoundError(f"There is no node type {name!r}.{advice}")


def _show_node_type(output: Output, node_type: ws.NodeType) -> None:
    handles = [*node_type.output_handles, *(["more by its configuration"] if node_type.dynamic_handles else [])]
    output.say(
        Text.assemble((node_type.name, "bold"), f"  {text.plain(node_type.title)}"),
        text.plain(node_type.description),
        f"handles: {', '.join(handles) or 'none of its own'}",
        f"after a crash: {node_type.idempotency}; runs: {node_type.isolation}",
        "configuration:",
        pretty_json(text.decode_json(node_type.config_schema_json)),
    )
