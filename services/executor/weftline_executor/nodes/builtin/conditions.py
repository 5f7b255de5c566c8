"""Conditions about the fields of an item, as data."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from weftline_executor.nodes.builtin.fields import (
    MISSING,
    FieldPath,
    identity,
    is_number,
    kind_of,
    steps_of,
    value_at,
    wrong_type,
)

Operator = Literal["==", "!=", ">", ">=", "<", "<=", "contains", "in", "exists", "startswith", "endswith"]
Test = Callable[[object, int], bool]

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    **{">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
}


class Condition(BaseModel):
    """What holds for an item: its `field` stands in the relation `op` to `value`."""

    model_config = ConfigDict(extra="forbid")

    field: FieldPath = ""
    op: Operator = "=="
    value: object = Field(None, description="What the field is compared with; for `exists` true, false or nothing.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        value, fits = self.value, True
        match self.op:
            case ">" | ">=" | "<" | "<=":
                fits, wanted = is_number(value) or isinstance(value, str), "a number or a text"
            case "in":
                fits, wanted = isinstance(value, list), "a list"
            case "startswith" | "endswith":
                fits, wanted = isinstance(value, str), "a text"
            case "exists":
                fits, wanted = value is None or isinstance(value, bool), "true or false"
        if not fits:
            raise ValueError(f"should have {wanted} as the `value` of {self.op}")
        return self

    def test(self) -> Test:
        """Give a function that says whether the condition holds for an item; it raises `NodeFailed` (`wrong_type`)."""
        steps, holds, field = steps_of(self.field), _RELATIONS[self.op](self), self.field

        def test(item: object, index: int) -> bool:
            found = value_at(item, steps)
            try:
                return holds(found)
            except _CannotCompare as error:
                raise wrong_type(index, field, found, str(error)) from None

        return test


def all_of(conditions: Sequence[Condition], match: Literal["all", "any"]) -> Test:
    """Give a function that says whether all conditions, or any of them, hold for an item."""
    tests = [condition.test() for condition in conditions]
    decide = all if match == "all" else any
    return lambda item, index: decide(test(item, index) for test in tests)


class _CannotCompare(Exception):
    """A field is of a type for which the relation has no meaning."""


_Holds = Callable[[object], bool]


def _is_absent(found: object) -> bool:
    return found is MISSING or found is None


def _equal(condition: Condition) -> _Holds:
    wanted, negated = identity(condition.value), condition.op == "!="
    return lambda found: (found is not MISSING and identity(found) == wanted) != negated


def _ordered(condition: Condition) -> _Holds:
    value, order = condition.value, _ORDERS[condition.op]

    def holds(found: object) -> bool:
        if _is_absent(found):
            return False
        if not (isinstance(found, str) if isinstance(value, str) else is_number(found)):
            raise _CannotCompare(f"which {condition.op} cannot compare with {kind_of(value)}")
        return order(found, value)

    return holds


def _contains(condition: Condition) -> _Holds:
    value, wanted = condition.value, identity(condition.value)

    def holds(found: object) -> bool:
        if _is_absent(found):
            return False
        if isinstance(found, list):
            return any(identity(each) == wanted for each in found)
        if isinstance(found, str | dict) and isinstance(value, str):
            return value in found
        raise _CannotCompare(f"which cannot contain {kind_of(value)}")

    return holds


def _is_in(condition: Condition) -> _Holds:
    values = condition.value if isinstance(condition.value, list) else []
    wanted = {identity(value) for value in values}
    return lambda found: found is not MISSING and identity(found) in wanted


def _exists(condition: Condition) -> _Holds:
    wanted = condition.value is not False
    return lambda found: (found is not MISSING) == wanted


def _affix(condition: Condition) -> _Holds:
    value = str(condition.value)

    def holds(found: object) -> bool:
        if _is_absent(found):
            return False
        if not isinstance(found, str):
            raise _CannotCompare(f"so that {condition.op} has no meaning")
        return found.startswith(value) if condition.op == "startswith" else found.endswith(value)

    return holds


_RELATIONS: dict[str, Callable[[Condition], _Holds]] = {
    **dict.fromkeys(("==", "!="), _equal),
    **dict.fromkeys(_ORDERS, _ordered),
    **dict.fromkeys(("startswith", "endswith"), _affix),
    **{"contains": _contains, "in": _is_in, "exists": _exists},
}
