"""Nodes that bring data into a run, shape it, and give it back."""

from collections.abc import Mapping
from enum import Enum

from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import node


class Default(Enum):
    """Marks a setting that was not given, where null would be a value like any other."""

    INPUTS = "inputs"


@node("input", title="Input", isolation="inline")
def input_values(ctx: Context, params: dict[str, object], values: Mapping[str, object] = {}) -> dict[str, object]:
    """Gives `values`, with the parameters of the run in place of those of the same name, and the rest of them too."""
    return {**values, **params}


@node("output", title="Output", isolation="inline")
def output_value(ctx: Context, inputs: dict[str, object], value: object = Default.INPUTS) -> object:
    """Makes a value a result of the run: `value`, or without it what arrived at the node."""
    return arrived(inputs) if value is Default.INPUTS else value


@node("set", title="Set values", isolation="inline")
def set_values(ctx: Context, values: dict[str, object]) -> dict[str, object]:
    """Gives `values`, which may hold expressions at any depth."""
    return values


@node("template", title="Fill a template", isolation="inline")
def template(ctx: Context, template: Text) -> str:
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
