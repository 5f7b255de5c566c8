"""A small picture of a large JSON value, for people: pruned, and JSON itself; pure."""

from __future__ import annotations

from typing import Any

import msgspec

PREVIEW_BYTES = 4096
_MORE = "…"
_MAX_DEPTH = 8
_MAX_KEY = 64
# How many characters of a string, and items of a list or an object, are kept: ever fewer, until the rest fits.
_STEPS = ((1024, 64), (512, 32), (256, 16), (128, 10), (64, 6), (32, 4), (16, 3), (8, 2), (4, 1))


def preview(body: bytes, limit: int = PREVIEW_BYTES) -> bytes:
    """JSON text of at most `limit` bytes (5 at least) for a person, made of the value in `body`, which is JSON text.

    What fits is given as it is. Else long strings end with `…`, long lists with an item and long objects with a key
    that say how much more there was, and what nests deeper than 8 levels is `…`.
    """
    if len(body) <= limit:
        return body
    value = msgspec.json.decode(body)
    for characters, items in _STEPS:
        try:
            pruned = msgspec.json.encode(_Pruning(characters, items, limit).prune(value, _MAX_DEPTH))
        except _TooMuch:
            continue
        if len(pruned) <= limit:
            return pruned
    return msgspec.json.encode(_MORE)


class _TooMuch(Exception):
    """More values would be kept than can fit."""


class _Pruning:
    """One try; gives up after `most` values, each of which takes a byte at least."""

    def __init__(self, characters: int, items: int, most: int) -> None:
        self._characters = characters
        self._items = items
        self._left = most

    def prune(self, value: Any, depth: int) -> object:
        self._left -= 1
        if self._left < 0:
            raise _TooMuch
        if isinstance(value, str):
            return _cut(value, self._characters)
        if not isinstance(value, list | dict) or not value:
            return value
        if not depth:
            return _MORE
        return self._prune_list(value, depth) if isinstance(value, list) else self._prune_object(value, depth)

    def _prune_list(self, value: list[Any], depth: int) -> list[object]:
        kept = [self.prune(item, depth - 1) for item in value[: self._items]]
        return [*kept, f"{_MORE} {len(value) - self._items} more"] if len(value) > self._items else kept

    def _prune_object(self, value: dict[str, Any], depth: int) -> dict[str, object]:
        kept: dict[str, object] = {}
        for number, (key, item) in enumerate(value.items()):
            if number == self._items:
                kept[_MORE] = f"{len(value) - self._items} more"
                break
            kept[_cut(key, _MAX_KEY)] = self.prune(item, depth - 1)
        return kept


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + _MORE
