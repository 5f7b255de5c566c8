"""Many values made one: sums, means, extremes, lists and groups of the items of a list."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from weftline_executor.nodes.builtin.fields import (
    MISSING,
    FieldPath,
    identity,
    is_number,
    steps_of,
    value_at,
    wrong_type,
)
from weftline_executor.nodes.errors import NodeFailed
from weftline_executor.nodes.values import text

Operation = Literal[
    "count", "sum", "mean", "average", "min", "max", "first", "last", "collect", "unique", "join"
]  # fmt: skip

KEY = "key"
"""What the value is called that the items of a group have in common."""

# Integers that everybody who reads JSON here can hold.
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1

Found = Sequence[tuple[int, Any]]
"""Values with the indexes of the items that they are from."""


class Aggregate(BaseModel):
    """One value over a list: what `op` makes of the `field` of its items."""

    model_config = ConfigDict(extra="forbid")

    op: Operation
    field: FieldPath = ""
    separator: str | None = Field(None, max_length=1024, description="What stands between texts; for `join` only.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.separator is not None and self.op != "join":
            raise ValueError(f"should have no `separator`, which {self.op} does not use")
        return self

    def of(self, items: Found) -> object:
        """Give the value over some items; raises `NodeFailed` (`wrong_type`, `number_too_large`)."""
        steps = steps_of(self.field)
        at = [(index, value_at(item, steps)) for index, item in items]
        found = [pair for pair in at if pair[1] is not None and pair[1] is not MISSING]
        try:
            return _OPERATIONS[self.op](self, found)
        except OverflowError:
            raise NodeFailed(f"the {self.op} is larger than numbers can be", "number_too_large") from None


def aggregate(items: Sequence[object], aggregates: Mapping[str, Aggregate]) -> dict[str, object]:
    """Give one object with all values over a list; raises as `Aggregate.of` does."""
    return _row(list(enumerate(items)), aggregates)


def group(items: Sequence[object], by: str, aggregates: Mapping[str, Aggregate]) -> list[dict[str, object]]:
    """Give an object `{key, ...}` for each value of the field `by`, in the order in which they first come.

    Items without the field belong to the group of null. Raises as `Aggregate.of` does.
    """
    steps = steps_of(by)
    groups: dict[object, tuple[object, list[tuple[int, Any]]]] = {}
    for index, item in enumerate(items):
        found = value_at(item, steps)
        key = None if found is MISSING else found
        groups.setdefault(identity(key), (key, []))[1].append((index, item))
    return [{KEY: key, **_row(members, aggregates)} for key, members in groups.values()]


def _row(items: Found, aggregates: Mapping[str, Aggregate]) -> dict[str, object]:
    return {name: each.of(items) for name, each in aggregates.items()}


def _numbers(self: Aggregate, found: Found) -> list[int | float]:
    for index, value in found:
        if not is_number(value):
            raise wrong_type(index, self.field, value, f"and {self.op} takes numbers")
    return [value for _, value in found]


def _total(self: Aggregate, found: Found) -> int | float:
    numbers = _numbers(self, found)
    # Integers are added without loss; floats as exactly as they can be, in any order.
    whole = sum(number for number in numbers if isinstance(number, int))
    broken = [number for number in numbers if isinstance(number, float)]
    total = math.fsum([*broken, whole]) if broken else whole
    if isinstance(total, int) and not _LEAST <= total <= _MOST:
        raise OverflowError
    return total


def _mean(self: Aggregate, found: Found) -> int | float | None:
    if not found:
        return None
    total = _total(self, found)
    if isinstance(total, int) and total % len(found) == 0:
        return total // len(found)
    numbers = _numbers(self, found)
    # The quotient is rounded, which must not take it past the numbers that it is the mean of.
    return min(max(total / len(found), min(numbers)), max(numbers))


def _extreme(self: Aggregate, found: Found) -> object:
    if not found:
        return None
    values = [value for _, value in found]
    if isinstance(values[0], str):
        for index, value in found:
            if not isinstance(value, str):
                raise wrong_type(index, self.field, value, f"and {self.op} cannot compare it with text")
    else:
        _numbers(self, found)
    return min(values) if self.op == "min" else max(values)


def _unique(self: Aggregate, found: Found) -> list[object]:
    seen: dict[object, object] = {}
    for _, value in found:
        seen.setdefault(identity(value), value)
    return list(seen.values())


def _join(self: Aggregate, found: Found) -> str:
    separator = ", " if self.separator is None else self.separator
    return separator.join(text(value) for _, value in found)


_OPERATIONS: dict[str, Callable[[Aggregate, Found], object]] = {
    "count": lambda self, found: len(found),
    "sum": _total,
    "mean": _mean,
    "average": _mean,
    "min": _extreme,
    "max": _extreme,
    "first": lambda self, found: found[0][1] if found else None,
    "last": lambda self, found: found[-1][1] if found else None,
    "collect": lambda self, found: [value for _, value in found],
    "unique": _unique,
    "join": _join,
}
