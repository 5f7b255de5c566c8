"""Nodes that say something, fail, or do nothing."""

from typing import Annotated

from pydantic import Field

from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context, Level
from weftline_executor.nodes.decorator import node
from weftline_executor.nodes.errors import NodeFailed


@node("noop", title="Do nothing", isolation="inline")
def noop(ctx: Context) -> None:
    """Does nothing and has no output."""


@node("log", title="Write a log line", isolation="inline")
def log(
    ctx: Context,
    message: Annotated[Text, Field(description="The line; what is not text becomes JSON.")],
    level: Annotated[Level, Field(description="How serious it is.")] = "info",
) -> None:
    """Writes a line to the log of the run."""
    ctx.log(message, level)


@node("fail", title="Fail", isolation="inline", errors={"node_failed": "always"})
def fail(
    ctx: Context, message: Annotated[Text, Field(description="What the error says.")] = "failed on purpose"
) -> None:
    """Fails with a message."""
    raise NodeFailed(message)
