"""JSON values as expressions give them: copied, measured against a bound, and written as text."""

import math
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView

import msgspec
from jinja2 import Undefined
from jinja2.exceptions import UndefinedError

MAX_SIZE = 1024 * 1024
MAX_WORK = 16 * MAX_SIZE
MAX_INT_BITS = 1024

# What a number, a boolean, a null or a container itself counts.
_UNIT = 8


class ValueTooLarge(ValueError):
    """A value, or all that an expression makes on its way to one, is larger than it may be.

    Sizes count characters of text, and 8 for any other value.
    """

    def __init__(self, what: str = "the value", limit: int = MAX_SIZE) -> None:
        super().__init__(f"{what} is larger than {limit // 1024} KiB")
        self.limit = limit


class NotJson(ValueError):
    """A value is of a kind that JSON cannot hold."""


class Budget:
    """What one evaluation may take and make in all its steps together: 16 MiB, or two million small steps."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_WORK

    def pay(self, value: object) -> None:
        """Count a value that a step took or made; raises `ValueTooLarge`."""
        self._left -= _UNIT
        if isinstance(value, str):
            self._left -= len(value)
        elif isinstance(value, list | tuple):
            self._left -= _UNIT * len(value)
        if self._left < 0:
            raise ValueTooLarge("the work of the expression", MAX_WORK)


def plain(value: object) -> object:
    """Copy a value into plain JSON types, so that whoever gets it cannot change the original.

    Raises `ValueTooLarge`, `NotJson`, and `UndefinedError` for a value that is not there.
    """
    return _Copier().copy(value)


def text(value: object) -> str:
    """Write a value into a text: strings as they are, anything else as JSON; raises as `plain` does."""
    if type(value) is str:
        return value
    copied = plain(value)
    return copied if isinstance(copied, str) else msgspec.json.encode(copied).decode()


class _Copier:
    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_SIZE

    def copy(self, value: object) -> object:
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
