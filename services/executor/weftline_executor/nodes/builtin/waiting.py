"""Nodes that wait for a word from outside."""

from typing import Annotated

from pydantic import Field

from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import node
from weftline_executor.nodes.results import Wait

# Stands for a value that was not given, where null would be a value like any other.
_NOT_GIVEN = object()

_APPROVAL_ERRORS = {
    "rejected": "somebody said no",
    "approval_timeout": "nobody answered before the deadline, and there is no `default`",
}
_EVENT_ERRORS = {"event_timeout": "no event came before the deadline, and there is no `default`"}
_YEAR = 365 * 24 * 3600

Deadline = Annotated[
    float | None, Field(gt=0, le=_YEAR, allow_inf_nan=False, description="For how long it waits, in seconds.")
]


@node("approval", title="Approval", isolation="inline", errors=_APPROVAL_ERRORS)
def approval(
    ctx: Context,
    message: Annotated[Text, Field(description="What somebody is asked to approve.")] = "",
    deadline: Deadline = None,
    default: Annotated[
        object, Field(description="The answer when nobody gave one in time; without it the node fails then.")
    ] = _NOT_GIVEN,
) -> Wait:
    """Waits until somebody completes it, and gives what they say; the run goes on elsewhere meanwhile.

    An answer that is an object whose `approved` is false rejects: the node fails with the code `rejected`, so what
    follows is skipped, or goes the way that `policy.onError` says. With `fail_branch` that is the `error` handle.
    Nobody answering before the deadline fails it with the code `approval_timeout`, unless there is a `default`.
    """
    return _wait(Wait("approval", message=message, deadline=deadline), default)


@node("wait_for_event", title="Wait for an event", isolation="inline", errors=_EVENT_ERRORS)
def wait_for_event(
    ctx: Context,
    event: Annotated[Text, Field(min_length=1, max_length=256, description="The name of the event.")],
    message: Annotated[Text, Field(description="What people are shown meanwhile.")] = "",
    deadline: Deadline = None,
    default: Annotated[
        object, Field(description="What it gives when no event came in time; without it the node fails then.")
    ] = _NOT_GIVEN,
) -> Wait:
    """Waits until an event of a name is sent to the workflow, and gives what came with it.

    One event ends the wait of every node that waits for its name. No event before the deadline fails the node with the
    code `event_timeout`, unless there is a `default`.
    """
    return _wait(Wait("event", message=message, event=event, deadline=deadline), default)


def _wait(wait: Wait, default: object) -> Wait:
    if default is _NOT_GIVEN:
        return wait
    return Wait(wait.kind, wait.message, wait.event, wait.deadline, default)
