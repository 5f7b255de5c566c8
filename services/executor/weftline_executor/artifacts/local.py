"""Writing a file on this machine so that it is there whole or not at all, also after a loss of power."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

UNFINISHED = ".unfinished-"
"""How the names of files begin that are being written."""


def write_durably(path: Path, body: bytes) -> None:
    """Writes a file, and the folders above it that are missing, to disk before it returns; raises OSError.

    Whatever was there under this name is replaced at once.
    """
    _make_folders(path.parent)
    unfinished = path.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    try:
        _write(unfinished, body)
        unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    _sync(path.parent)


def _write(path: Path, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(descriptor)


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        _sync(each.parent)


def _sync(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
