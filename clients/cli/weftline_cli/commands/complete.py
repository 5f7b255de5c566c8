"""`weftline complete`: answers a node that waits for an approval or an event."""

import json
from typing import Final

import click

from weftline_cli import runtime, text
from weftline_cli.client import ExecutorClient
from weftline_cli.definition import read_file, refuse_constant
from weftline_cli.errors import UsageError
from weftline_cli.messages import command_row, encode
from weftline_cli.options import Output, common, pass_output

APPROVED: Final = '{"approved":true}'
FILE_MARK: Final = "@"


@click.command(short_help="Answer a node that waits for an approval or an event.")
@click.argument("workflow_id", metavar="ID")
@click.argument("node_id", metavar="[NODE]", required=False)
@click.option("--event", metavar="NAME", help="Answer all nodes that wait for this event, instead of one node.")
@click.option("--data", metavar="JSON|@FILE", help="What becomes the node's output; @- reads standard input.")
@click.option(
    "--reject",
    metavar="[REASON]",
    is_flag=False,
    flag_value="",
    default=None,
    help="Reject it instead; the node fails.",
)
@common
@pass_output
def complete(
    output: Output, *, workflow_id: str, node_id: str | None, event: str | None, data: str | None, reject: str | None
) -> None:
    """Finish NODE of the workflow ID, which waits, or all its nodes that wait for an event.

    Without --data a node's output says that it is approved.
    """
    if bool(node_id) == bool(event):
        raise UsageError("complete takes a node's id, or --event NAME.")
    if reject is not None and (event or data is not None):
        raise UsageError("--reject goes with a node's id, and neither with --event nor with --data.")
    answer = _answer(data, reject, "" if event else APPROVED)

    async def send() -> None:
        async with ExecutorClient(output.executor) as client:
            result = await client.complete(workflow_id, node_id or "", event or "", answer)
        if output.as_json:
            output.row(command_row(result))
            return
        what = f"Event {text.one_line(event)} was sent to" if event else _done(node_id or "", reject)
        output.say(f"{what} {result.workflow_id}, which is {text.run_state(result.state)} (run {result.run_id}).")

    runtime.run(send())


def _done(node_id: str, reject: str | None) -> str:
    return f"{text.one_line(node_id)} was {'completed' if reject is None else 'rejected'} in"


def _answer(data: str | None, reject: str | None, default: str) -> str:
    """Return the JSON text to send."""
    if reject is not None:
        return encode({"approved": False, **({"comment": reject} if reject else {})})
    return default if data is None else _checked(data)


def _checked(data: str) -> str:
    """Return the JSON text that `--data` gives, itself or in a file.

    Raises UsageError when it is not JSON, or the file can't be read.
    """
    where = "--data"
    try:
        if data.startswith(FILE_MARK):
            raw, where = read_file(data.removeprefix(FILE_MARK))
            data = raw.decode("utf-8-sig")
        json.loads(data, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{where} is not JSON: {error.msg} at {place}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is not JSON: {error}.") from error
    return data.strip()
