"""The data directory of a stack: made and tried before anything starts, and known to be in use by its lock."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Final

from weftline_cli.errors import StackError

LOCK_NAME: Final = "lock"


def prepare_data_dir(data_dir: Path) -> Path:
    """Make the data directory with its `logs` and return the latter.

    Raises StackError when it can't be made or written.
    """
    logs = data_dir / "logs"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data_dir):
            pass
    except OSError as error:
        raise StackError(
            "data_dir_unusable",
            f"The data directory {data_dir} can't be written: {error.strerror}. Choose another with --data-dir.",
        ) from error
    return logs


def is_in_use(data_dir: Path) -> bool:
    """Whether an executor holds the lock of the data directory."""
    try:
        lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A shared lock is refused only by the executor's exclusive one, never by another look like this.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def in_use(data_dir: Path) -> StackError:
    """Return the error that says that a Weftline runs on the data directory already."""
    return StackError(
        "data_dir_in_use",
        f"A Weftline is already running on the data directory {data_dir}. "
        "Use it, end it, or choose another directory with --data-dir.",
    )
