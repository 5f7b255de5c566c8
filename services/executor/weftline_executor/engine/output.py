"""What the code of nodes prints in a worker process, in the executor's log: bounded, and without secrets."""

from __future__ import annotations

import asyncio
import logging
from typing import IO

from weftline_executor.nodes import SecretSession

MAX_BYTES = 64 * 1024
"""Of what is printed during an attempt, so many bytes are logged."""

_MAX_HELD = 16 * 1024
_log = logging.getLogger(__name__)


class OutputLog:
    """Logs what comes through a pipe, line by line, under the name of its source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sessions: list[SecretSession] = []
        self._left = MAX_BYTES
        self._held = b""

    def attend(self, secrets: SecretSession) -> None:
        """An attempt begins. What earlier ones have printed may still be on its way, so their secrets are kept."""
        self._sessions = [session for session in self._sessions if session.used]
        self._sessions.append(secrets)
        self._left = MAX_BYTES

    async def follow(self, pipe: IO[bytes] | None) -> None:
        """Logs to the end of the pipe, and closes it."""
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while chunk := await reader.read(_MAX_HELD):
                self.take(chunk)
            self.close()
        finally:
            transport.close()

    def take(self, chunk: bytes) -> None:
        """Logs what is complete by now."""
        if self._left <= 0:
            return
        self._held += chunk[: self._left]
        self._left -= len(chunk)
        end = self._held.rfind(b"\n") + 1 or (len(self._held) if len(self._held) >= _MAX_HELD else 0)
        self._tell(self._held[:end])
        self._held = self._held[end:]
        if self._left <= 0:
            self.close()
            _log.info("%s prints more than %d bytes, of which the rest is left out", self._source, MAX_BYTES)

    def close(self) -> None:
        """Logs what is left."""
        self._tell(self._held)
        self._held = b""

    def _tell(self, data: bytes) -> None:
        # Together, since a secret may have several lines.
        text = data.decode(errors="replace")
        for session in self._sessions:
            text = session.scrub(text)
        for line in text.splitlines():
            if line.strip():
                _log.info("%s: %s", self._source, line)
