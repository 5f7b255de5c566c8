"""Fields of JSON values by path, and what it means that two JSON values are equal."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from weftline_executor.nodes.errors import NodeFailed

MISSING = object()
"""Stands for a field that is not there, where null would be a value like any other."""

_MAX_INDEX_DIGITS = 9

FieldPath = Annotated[
    str, Field(max_length=512, description="A path such as `a.b.0`, of keys and indexes; empty for the item itself.")
]


def steps_of(field: str) -> tuple[str, ...]:
    """Give the keys and indexes of a path such as `a.b.0`; none for an empty one."""
    return tuple(field.split(".")) if field else ()


def value_at(value: object, steps: Sequence[str]) -> object:
    """Follow keys and indexes into a JSON value; gives `MISSING` when one of them is not there."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, MISSING)
        elif isinstance(value, list) and step.isascii() and step.isdecimal() and len(step) <= _MAX_INDEX_DIGITS:
            index = int(step)
            value = value[index] if index < len(value) else MISSING
        else:
            return MISSING
    return value


def identity(value: object) -> object:
    """Give what can be a key of a dict, and is equal for JSON values that are: 1 is 1.0, but true is not 1."""
    if isinstance(value, list):
        return ("list", *map(identity, value))
    if isinstance(value, dict):
        return ("object", frozenset((key, identity(item)) for key, item in value.items()))
    return (type(value), value) if isinstance(value, bool) else value


def is_number(value: object) -> bool:
    """Say whether a value is a number of JSON, where true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def kind_of(value: object) -> str:
    """Give what a JSON value is, in a word for a message."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "an object")


def wrong_type(index: int, field: str, value: object, wanted: str) -> NodeFailed:
    """Give the error for an item whose field, or which itself, is not what is `wanted` there."""
    where = f"`{field}` of the item" if field else "the item"
    return NodeFailed(
        f"{where} with index {index} is {kind_of(value)}, {wanted}",
        "wrong_type",
        {"index": index, "field": field},
        retryable=False,
    )
