"""Named bytes in a directory, in memory or in a bucket, behind one small port; the work is done in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from weftline_executor.artifacts.local import write_durably
from weftline_executor.errors import ArtifactsUnavailable, ArtifactsUnusable

MEMORY = "memory://weftline"
"""The place for what nobody needs after the process."""

THREADS = 8
DEADLINE_SECONDS = 120.0
_PROBE = "probe"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file in a folder; `written_at` is in milliseconds since the Unix epoch, by the clock of whoever keeps it."""

    name: str
    size: int
    written_at: int


class Files:
    """Files below `place`: a directory of this machine, or a URL that fsspec knows, such as `s3://bucket/prefix`.

    Names are relative, made of parts that the caller has checked. Every write is whole or not at all, and durable
    when it returns, as far as the place is; memory is this object's own. All methods may raise ArtifactsUnavailable.
    """

    def __init__(self, place: Path | str) -> None:
        self._place = place
        self._file_system: Any = None
        self._root = ""
        # A list of what is in memory stumbles over what is deleted meanwhile.
        self._turns: AbstractContextManager[object] = threading.Lock() if place == MEMORY else nullcontext()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="weftline-artifacts")

    async def open(self, namespace: str) -> None:
        """Makes the place usable; all names are below `namespace`. Raises ArtifactsUnusable when it is not."""
        try:
            await self._in_thread(lambda: self._open(namespace))
        except ArtifactsUnavailable as error:
            raise ArtifactsUnusable(error.reason) from error

    async def close(self) -> None:
        """Lets go of the place; work in hand is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def write(self, name: str, body: bytes) -> None:
        """Writes a file, in place of one of the same name."""
        await self._in_thread(lambda: self._write(name, body))

    async def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes | None:
        """The bytes of a file from `offset`, `length` at most, or to its end; None when there is no such file."""
        end = None if length is None else offset + length
        return await self._in_thread(
            lambda: _found(lambda: bytes(self._file_system.cat_file(self._path(name), start=offset or None, end=end)))
        )

    async def size(self, name: str) -> int | None:
        """The size of a file in bytes; None when there is no such file."""
        return await self._in_thread(lambda: _found(lambda: int(self._file_system.info(self._path(name))["size"])))

    async def delete(self, name: str) -> None:
        """Deletes a file, if there is one."""
        await self._in_thread(lambda: _found(lambda: self._file_system.rm_file(self._path(name))))

    async def delete_folder(self, name: str) -> None:
        """Deletes a folder with all that is in it, if there is one."""
        await self._in_thread(lambda: _found(lambda: self._file_system.rm(self._path(name), recursive=True)))

    async def folders(self, name: str) -> list[str]:
        """The names of the folders in a folder."""
        return [_last(entry["name"]) for entry in await self._entries(name) if entry["type"] == "directory"]

    async def files(self, name: str) -> list[FileInfo]:
        """The files in a folder, also those whose writing was never finished."""
        return [
            FileInfo(_last(entry["name"]), int(entry["size"] or 0), _written_at(entry))
            for entry in await self._entries(name)
            if entry["type"] == "file"
        ]

    async def _entries(self, name: str) -> Sequence[dict[str, Any]]:
        return await self._in_thread(lambda: _found(lambda: self._list(name))) or []

    def _list(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._file_system.ls(self._path(name), detail=True)
        return found

    def _open(self, namespace: str) -> None:
        if isinstance(self._place, Path):
            self._file_system, root = LocalFileSystem(), str(self._place.absolute())
        else:
            # What was listed before is no answer to what is there now, nor one object's memory another's.
            options = {"global_store": False} if self._place == MEMORY else {"use_listings_cache": False}
            self._file_system, root = fsspec.core.url_to_fs(self._place, skip_instance_cache=True, **options)
        self._root = f"{root.rstrip('/')}/{namespace}"
        self._write(_PROBE, b"")
        self._file_system.rm_file(self._path(_PROBE))

    def _write(self, name: str, body: bytes) -> None:
        if isinstance(self._file_system, LocalFileSystem):
            write_durably(Path(self._path(name)), body)
        else:
            self._file_system.pipe_file(self._path(name), body)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _in_turn(self, work: Callable[[], _T]) -> _T:
        with self._turns:
            return work()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._in_turn, work)
        except TimeoutError:
            raise ArtifactsUnavailable(f"no answer within {DEADLINE_SECONDS:g} s") from None
        except Exception as error:
            # Each kind of place fails with errors of its own.
            raise ArtifactsUnavailable(f"{type(error).__name__}: {error}") from error


def _found(work: Callable[[], _T]) -> _T | None:
    """What `work` gives, or None when what it is about is not there."""
    try:
        return work()
    except FileNotFoundError:
        return None


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _written_at(entry: Mapping[str, Any]) -> int:
    """When a file was written, which each kind of place tells under another name; 0 where it does not."""
    at = next((entry[key] for key in ("mtime", "LastModified", "created") if entry.get(key) is not None), 0.0)
    return round((at.timestamp() if isinstance(at, datetime) else float(at)) * 1000)
