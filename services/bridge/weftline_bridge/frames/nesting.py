"""Finds out how deep JSON text nests without decoding it, so that a hostile message costs little."""

from __future__ import annotations

import re

# Every alternative consumes its quote, so that an unfinished string can't make the search start over and over.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_CLOSERS_AND_OPENERS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(b"[]{}")))


def nests_deeper_than(text: bytes, limit: int) -> bool:
    """Whether arrays and objects in `text` nest more than `limit` levels deep.

    The text need not be valid JSON; brackets within strings do not count. Linear in the
    size of the text for a fixed limit.
    """
    if text.count(b"[") + text.count(b"{") <= limit:
        return False
    brackets = _STRING.sub(b"", text).translate(_CLOSERS_AND_OPENERS, _NOT_STRUCTURE)
    for _ in range(limit):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            return _open_levels(brackets) > limit
        brackets = inner
    return b"[" in brackets


def _open_levels(brackets: bytes) -> int:
    return brackets.count(b"[")
