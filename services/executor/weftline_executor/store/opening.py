"""Opens the file of the SQLite event log, and says in one sentence why it can't be used and what to do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from weftline_executor.errors import StoreUnusable

WAY_OUT = "restore it from a backup (docs/operations.md), or move it away to begin anew"

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_SPACE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in the write-ahead mode with full sync; the file is made if missing."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def check_ours(path: Path) -> None:
    """Looks into a file before anything is written to it. Raises StoreUnusable for a database of something else."""
    if not path.exists():
        return
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and not tables >= {"meta", "workflow", "run", "chunk"}:
        raise StoreUnusable(f"{path} is not a usable event log: it is a database of something else; {WAY_OUT}")


def why_unusable(path: Path, error: sqlite3.Error) -> str:
    """Why a log can't be opened; a disk without space is no reason to go back to a backup."""
    if _primary(error) in _NO_SPACE:
        return f"{path} can't be opened: {error}; is the disk full?"
    return f"{path} is not a usable event log: {error}; {WAY_OUT}"


def why_failed(path: Path, error: sqlite3.Error) -> str:
    """Why a log that is open can't be read or written."""
    damaged = f"; {WAY_OUT}" if _primary(error) in _DAMAGED else ""
    return f"the event log {path} fails: {error}{damaged}"


def _primary(error: sqlite3.Error) -> int:
    """SQLite's own code of an error without what extends it; 0 for an error of the Python module."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
