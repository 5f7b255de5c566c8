"""Cuts what a child process writes into lines, and keeps them: all in a file, the last in memory."""

import logging
import logging.handlers
import re
from collections import deque
from pathlib import Path
from typing import Final

MAX_LINE_BYTES: Final = 64 * 1024
MAX_FILE_BYTES: Final = 16 * 1024 * 1024
TAIL_LINES: Final = 20
_LEVEL = re.compile(r"\b(?:(debug|info)|warn(?:ing)?|error|critical|fatal)\b", re.IGNORECASE)
_LEVEL_WIDTH: Final = 100


class LineCutter:
    """Cuts a stream of bytes into lines; one longer than 64 KiB is cut in two."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that are complete with this chunk."""
        *complete, self._rest = (self._rest + chunk).split(b"\n")
        while len(self._rest) > MAX_LINE_BYTES:
            complete.append(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]
        return [line.decode("utf-8", "replace").rstrip("\r") for line in complete]

    def end(self) -> list[str]:
        """Return the last line when it has no line break."""
        return self.feed(b"\n") if self._rest else []


class ChildLog:
    """The log of one child: a file of at most 16 MiB with one before it, and the last 20 lines."""

    def __init__(self, path: Path) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=MAX_FILE_BYTES, backupCount=1, encoding="utf-8", delay=True
        )

    def write(self, line: str) -> None:
        """Keep a line."""
        self.tail.append(line)
        self._handler.emit(logging.LogRecord("", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def is_serious(line: str) -> bool:
    """Whether a log line is a warning or worse, by the first level that it names near its beginning."""
    level = _LEVEL.search(line[:_LEVEL_WIDTH])
    return level is not None and level[1] is None
