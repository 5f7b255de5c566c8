"""Nodes that bring data into a run, shape it, and give it back."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import node

# Stands for a value that was not given, where null would be a value like any other.
_NOT_GIVEN = object()

_VALUES = Field(description="Any JSON values, by name.")


@node("input", title="Input", isolation="inline")
def input_values(
    ctx: Context, params: dict[str, object], values: Annotated[Mapping[str, object], _VALUES] = {}
) -> dict[str, object]:
    """Gives `values`, with the parameters of the run in place of those of the same name, and the rest of them too."""
    return {**values, **params}


@node("output", title="Output", isolation="inline")
def output_value(
    ctx: Context,
    inputs: dict[str, object],
    value: Annotated[object, Field(description="The result; without it, what arrived.")] = _NOT_GIVEN,
) -> object:
    """Makes a value a result of the run: `value`, or without it what arrived at the node."""
    return arrived(inputs) if value is _NOT_GIVEN else value


@node("set", title="Set values", isolation="inline")
def set_values(ctx: Context, values: Annotated[Mapping[str, object], _VALUES]) -> Mapping[str, object]:
    """Gives `values`, which may hold expressions at any depth."""
    return values


@node("template", title="Fill a template", isolation="inline")
def template(ctx: Context, template: Annotated[Text, Field(description="The text, with `{{ ... }}` in it.")]) -> str:
    """Gives a text with its expressions filled in."""
    return template


@node("merge", title="Merge", isolation="inline")
def merge(ctx: Context, inputs: dict[str, object]) -> object:
    """Brings branches together: gives what arrived, by input handle when several handles got something."""
    return arrived(inputs)


def arrived(inputs: Mapping[str, object]) -> object:
    """Give what arrived at the only input handle, or an object by handle; null when nothing did."""
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return dict(inputs) if inputs else None
