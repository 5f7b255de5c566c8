"""`weftline debug`: who is connected to the bridge, what happened to a connection, and why it did not see an event."""

from collections.abc import Mapping
from typing import Any

import click
from rich.text import Text

from weftline_cli import text
from weftline_cli.bridge_api import BridgeApi
from weftline_cli.errors import BridgeUnavailableError, NotFoundError
from weftline_cli.options import Output, bridge_option, common, pass_output
from weftline_cli.tables import table_of
from weftline_cli.why import ConnectionRecord, WorkflowRecord, why

_NOT_SHOWN = ("kind", "at", "until", "workflowId", "from", "to", "word")


@click.group(short_help="Look into the bridge: its connections, and what happened to them.")
def debug() -> None:
    """Look into the bridge: its connections, what happened to each lately, and why one did not see an event."""


@debug.command(short_help="List who is connected to the bridge.")
@bridge_option
@common
@pass_output
def connections(output: Output, *, bridge: str) -> None:
    """List who is connected, and how much waits for each."""
    found = BridgeApi(bridge).connections()
    if output.as_json:
        for each in found:
            output.row(each)
        return
    table = table_of("connection", "since", "address", "subject", "dialect", "mode", "queued", "rtt", "sent", "watches")
    for each in found:
        rtt = each.get("rttMs")
        watched = ", ".join(each["subscriptions"][:3]) + (" …" if len(each["subscriptions"]) > 3 else "")
        table.add_row(
            Text(str(each["id"]), "bold"),
            text.moment(each["since"]),
            text.one_line(each["address"]),
            text.one_line(each["subject"]),
            each["dialect"],
            each["mode"],
            str(each["queuedBytes"]),
            "" if rtt is None else f"{rtt:.1f} ms",
            str(each["sent"]),
            Text(watched),
        )
    output.say(table if found else "Nobody is connected.")


@debug.command(short_help="Show what happened to a connection.")
@click.argument("connection_id", metavar="CONNECTION")
@bridge_option
@common
@pass_output
def connection(output: Output, connection_id: str, *, bridge: str) -> None:
    """Show what happened lately to CONNECTION, also some minutes after it ended."""
    _show(output, BridgeApi(bridge).connection(connection_id))


@debug.command(short_help="Show what came of a workflow.")
@click.argument("workflow_id", metavar="ID")
@bridge_option
@common
@pass_output
def workflow(output: Output, workflow_id: str, *, bridge: str) -> None:
    """Show what came lately from the executor of the workflow ID."""
    _show(output, BridgeApi(bridge).workflow(workflow_id))


@debug.command("why", short_help="Say why a connection did not see an event.")
@click.argument("connection_id", metavar="CONNECTION")
@click.argument("workflow_id", metavar="ID")
@click.argument("seq", type=click.IntRange(min=1), metavar="SEQ")
@bridge_option
@common
@pass_output
def explain(output: Output, connection_id: str, workflow_id: str, seq: int, *, bridge: str) -> None:
    """Say why CONNECTION did not see the event SEQ of the workflow ID."""
    api = BridgeApi(bridge)
    found = api.connection(connection_id)
    try:
        of_workflow: Mapping[str, Any] | None = api.workflow(workflow_id, connection_id)
    except NotFoundError:
        of_workflow = None
    try:
        record = None if of_workflow is None else WorkflowRecord.read(of_workflow)
        answer = why(ConnectionRecord.read(found), record, workflow_id, seq)
    except (KeyError, TypeError, ValueError) as error:
        raise BridgeUnavailableError(api.url, "it did not answer as a bridge of this version does.") from error
    if output.as_json:
        output.row({"code": answer.code, "message": answer.words, "at": answer.at})
    else:
        output.say(Text.assemble((answer.code.replace("_", " "), "bold"), "  ", answer.words))


def _show(output: Output, found: Mapping[str, Any]) -> None:
    records = found["records"]
    if output.as_json:
        output.row({name: value for name, value in found.items() if name != "records"})
        for record in records:
            output.row(record)
        return
    table = table_of("from", "to", "what", "workflow", "seqs", "how", "more")
    for record in records:
        first, last = record.get("from", 0), record.get("to", 0)
        seqs = "" if not last else str(last) if first == last else f"{first}-{last}"
        more = ", ".join(f"{name} {value}" for name, value in record.items() if name not in _NOT_SHOWN)
        until = "" if record["until"] == record["at"] else text.exact_moment(record["until"])
        what = Text(record["kind"], "bold")
        workflow_id, word = text.one_line(record.get("workflowId", "")), text.one_line(record.get("word", ""))
        table.add_row(text.exact_moment(record["at"]), until, what, Text(workflow_id), seqs, Text(word), more)
    output.say(table)
    output.say(Text(f"complete since {text.moment(found['completeSince'])}", "dim"))
