"""JSON values as expressions give them: copied, measured against a bound, and written as text."""

import math
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView

import msgspec
from jinja2 import Undefined
from jinja2.exceptions import UndefinedError

MAX_SIZE = 1024 * 1024
MAX_WORK = 8 * MAX_SIZE
MAX_INT_BITS = 1024

# What a number, a boolean, a null or a container itself counts.
_UNIT = 8

# What a step of an evaluation counts, and a value that is looked at, or copied.
_STEP = 64
_LOOKED_AT = 16
_COPIED = 48

_EMPTY: dict[str, object] = {}
_CONTAINERS = (list, tuple, dict, type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))


class ValueTooLarge(ValueError):
    """A value is larger than 1 MiB, where a size counts characters of text, and 8 for any other value."""

    def __init__(self) -> None:
        super().__init__(f"the value is larger than {MAX_SIZE // 1024} KiB")


class TooMuchWork(ValueError):
    """The expressions of a node do more than they may, all together."""

    def __init__(self) -> None:
        super().__init__(
            "the node's expressions take too long together; let them go over less, or divide them among nodes"
        )


class NotJson(ValueError):
    """A value is of a kind that JSON cannot hold."""


class Budget:
    """What all expressions of one node together may do each time that they are evaluated.

    The unit is about what one character of text costs, 10 ns; a value within another counts 8, a step 64, and filters
    that take longer count more. All of it, 8 Mi units, takes roughly 50 to 100 ms, in which nothing else is done.
    """

    __slots__ = ("_left",)

    def __init__(self, work: int = MAX_WORK) -> None:
        self._left = work

    def spend(self, work: int) -> None:
        """Count so many units; raises `TooMuchWork`."""
        self._left -= work
        if self._left < 0:
            raise TooMuchWork

    def pay(self, value: object) -> None:
        """Count a step that took or made a value, and the value's own size; raises `TooMuchWork`."""
        self.spend(_STEP + size_of(value))

    def pay_deep(self, value: object, factor: int = 1) -> None:
        """Count a step that looks at all that is in a value, `factor` times; raises `TooMuchWork`."""
        left = self._left - _STEP
        waiting = [value]
        while waiting and left >= 0:
            inner = waiting.pop()
            left -= _LOOKED_AT
            if isinstance(inner, str):
                left -= factor * len(inner)
            elif isinstance(inner, _CONTAINERS):
                left -= factor * _UNIT * len(inner)
                if left >= 0:
                    waiting += inner
                    waiting += inner.values() if isinstance(inner, dict) else ()
        self._left = left
        self.spend(0)


def size_of(value: object) -> int:
    """Give what a value costs by itself, without what the values in it do."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, _CONTAINERS):
        return _UNIT * len(value)
    return 0


def plain(value: object, budget: Budget | None = None) -> object:
    """Copy a value into plain JSON types, so that whoever gets it cannot change the original.

    What is copied is paid for out of `budget`, if there is one. Raises `ValueTooLarge`, `NotJson`, and `UndefinedError`
    for a value that is not there.
    """
    return _Copier(budget or Budget()).copy(value)


def text(value: object, budget: Budget | None = None) -> str:
    """Write a value into a text: strings as they are, anything else as JSON; raises as `plain` does."""
    if type(value) is str:
        return value
    copied = plain(value, budget)
    return copied if isinstance(copied, str) else msgspec.json.encode(copied).decode()


class _Copier:
    __slots__ = ("_budget", "_left")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._left = MAX_SIZE

    def copy(self, value: object) -> object:
        self._budget.spend(_COPIED)
        if isinstance(value, str):
            self._spend(len(value))
            return str(value)
        self._spend(_UNIT)
        if value is None or isinstance(value, bool | int | float):
            return _number(value)
        if isinstance(value, Mapping):
            return {self._key(key): self.copy(item) for key, item in value.items()}
        if isinstance(value, list | tuple | KeysView | ValuesView | ItemsView | Iterator):
            return [self.copy(item) for item in value]
        if isinstance(value, Undefined):
            raise UndefinedError(value._undefined_message)
        if callable(value):
            raise NotJson("the value is a method; put () after its name to call it")
        raise NotJson(f"the value is of the type {type(value).__name__}, which JSON cannot hold")

    def _key(self, key: object) -> str:
        if not isinstance(key, str):
            raise NotJson(f"the key {key!r} of an object is not a string")
        self._spend(len(key))
        return key

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueTooLarge


def _number(value: float | None) -> float | None:
    if isinstance(value, float) and not math.isfinite(value):
        raise NotJson(f"the number {value} cannot be held by JSON")
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        raise NotJson(f"the number has more than {MAX_INT_BITS} bits")
    return value
