"""`weftline convert`: turns the workflows of others into Weftline's."""

import json
import math
from pathlib import Path

import click

from weftline_cli import text
from weftline_cli.definition import read_file
from weftline_cli.errors import UsageError
from weftline_cli.options import Output, common, pass_output
from weftline_cli.wfformat.convert import to_workflow
from weftline_cli.wfformat.instance import read_instance


@click.command(short_help="Turn the workflow of another system into one of Weftline.")
@click.argument("file")
@click.option(
    "--from", "kind", type=click.Choice(["wfformat"]), required=True, help="What FILE is: a WfCommons instance."
)
@click.option(
    "--time-scale",
    metavar="X",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Delay of a node per second that its task took; 0 makes every node a noop.",
)
@click.option("--out", metavar="OUT", help="Write the workflow there instead of to standard output.")
@common
@pass_output
def convert(output: Output, file: str, kind: str, time_scale: float, out: str | None) -> None:
    """Turn FILE (- for standard input) into a workflow that `weftline run` runs.

    With --json the workflow is one line.
    """
    if not math.isfinite(time_scale):
        raise UsageError("--time-scale takes a finite number.")
    raw, source = read_file(file)
    workflow = to_workflow(read_instance(raw, source), source, time_scale)
    if output.as_json:
        body = json.dumps(workflow, ensure_ascii=False, separators=(",", ":"))
    else:
        body = json.dumps(workflow, ensure_ascii=False, indent=1)
    if out is None:
        print(body)
        return
    try:
        Path(out).write_text(f"{body}\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror}.") from error
    size = {"nodes": len(workflow["nodes"]), "edges": len(workflow["edges"])}
    if output.as_json:
        output.row({"out": out, **size})
    else:
        output.say(f"Wrote {out}: {text.count(size['nodes'], 'node')}, {text.count(size['edges'], 'edge')}.")
