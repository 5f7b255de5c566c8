"""Nodes that decide which way a run goes."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from weftline_executor.nodes.builtin.fields import identity
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.declare import Expression
from weftline_executor.nodes.decorator import node
from weftline_executor.nodes.results import Branch

Handle = Annotated[str, Field(min_length=1, max_length=128)]

Condition = Annotated[object, Expression(), Field(description="An expression, with braces or without, or a value.")]

_DEFAULT = "default"


class Case(BaseModel):
    """One way out of a switch: `handle` fires when the expression's value equals `value`."""

    model_config = ConfigDict(extra="forbid")

    value: object
    handle: Handle


@node("condition", title="Condition", isolation="inline", outputs=("true", "false"))
def condition(ctx: Context, expression: Condition) -> Branch:
    """Goes one of two ways: `true` unless the value is false, null, 0, or an empty text, list or object.

    The expression may be written with braces or without. The output is true or false.
    """
    holds = bool(expression)
    return Branch("true" if holds else "false", holds)


def case_handles(data: Mapping[str, object]) -> dict[str, str]:
    """Give the handles that a switch names, by path, passing over what is not a handle."""
    cases = data.get("cases")
    named = {
        f"cases[{index}].handle": case["handle"]
        for index, case in enumerate(cases if isinstance(cases, list) else [])
        if isinstance(case, Mapping) and isinstance(case.get("handle"), str)
    }
    default = data.get("default", _DEFAULT)
    return {**named, "default": default} if isinstance(default, str) else named


@node("switch", title="Switch", isolation="inline", outputs=(), handle_names=case_handles)
def switch(
    ctx: Context,
    expression: Condition,
    cases: Annotated[list[Case], Field(description="The ways out, in the order in which they are tried.")],
    default: Annotated[Handle, Field(description="The handle that fires when no case does.")] = _DEFAULT,
) -> Branch:
    """Goes the way of the first case whose value equals that of the expression, else the `default` way.

    The expression may be written with braces or without. The output is its value.
    """
    for case in cases:
        if identity(case.value) == identity(expression):
            return Branch(case.handle, expression)
    return Branch(default, expression)
