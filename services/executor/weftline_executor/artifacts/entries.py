"""Kept results by key, of no run: for a while, within a size, and none the worse for being lost."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass

import msgspec

from weftline_executor.artifacts.files import Files
from weftline_executor.artifacts.local import UNFINISHED

_FOLDER = "cache"
_KEY = re.compile(r"[0-9a-f]{64}")
_UNFINISHED_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A result: `output` is JSON text or empty, `handle` the output handle that fired, `written_at` in ms."""

    output: bytes
    handle: str
    written_at: int


class _Head(msgspec.Struct, frozen=True):
    """What stands in the first line of a file, before the output."""

    handle: str
    written_at: int
    sha256: str


class Entries:
    """Entries over some files. All methods may raise ArtifactsUnavailable; keys are SHA-256 in hexadecimal."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def write(self, key: str, entry: Entry) -> None:
        """Keeps an entry, in place of one of the same key."""
        await self._files.write(_path(key), await asyncio.to_thread(_encode, entry))

    async def read(self, key: str) -> Entry | None:
        """The entry of a key; None when there is none, or it is damaged."""
        body = await self._files.read(_path(key))
        return None if body is None else await asyncio.to_thread(_decode, body)

    async def sweep(self, max_age_ms: int, max_bytes: int, now: int) -> int:
        """Deletes entries that were written too long before `now` (in ms), and the oldest beyond a size.

        Gives how many. When they were written is told by the clock of whoever keeps the files.
        """
        kept, doomed = [], []
        for file in await self._files.files(_FOLDER):
            age = now - file.written_at
            if file.name.startswith(UNFINISHED):
                doomed += [file] if age > _UNFINISHED_MS else []
            elif age > max_age_ms or not _KEY.fullmatch(file.name):
                doomed.append(file)
            else:
                kept.append(file)
        kept.sort(key=lambda file: file.written_at, reverse=True)
        size = 0
        for file in kept:
            size += file.size
            if size > max_bytes:
                doomed.append(file)
        for file in doomed:
            await self._files.delete(f"{_FOLDER}/{file.name}")
        return len(doomed)


def _path(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key")
    return f"{_FOLDER}/{key}"


def _encode(entry: Entry) -> bytes:
    digest = hashlib.sha256(entry.output).hexdigest()
    head = msgspec.json.encode(_Head(entry.handle, entry.written_at, digest))
    return b"\n".join((head, entry.output))


def _decode(body: bytes) -> Entry | None:
    line, _, output = body.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.DecodeError, UnicodeError):
        return None
    intact = hashlib.sha256(output).hexdigest() == head.sha256
    return Entry(output, head.handle, head.written_at) if intact else None
