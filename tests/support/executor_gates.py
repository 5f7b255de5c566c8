"""Files by which a test and its nodes talk, also after a crash: gates that open, and marks that are left."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

WAIT_SECONDS = 20.0
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate for nodes of `test_nodes`; pass `str(gate)` to a node, which goes on when the gate is open."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> None:
        """Lets everyone through."""
        self.path.touch()


@dataclass(frozen=True, slots=True)
class Marks:
    """What nodes of `test_nodes` leave behind; pass `str(marks)` to a node."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    async def wait(self, count: int) -> None:
        """Waits until so many marks are there; raises TimeoutError when they do not come."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self._lines()) < count:
                await asyncio.sleep(POLL_SECONDS)

    def attempts(self) -> list[str]:
        """The attempts that were made, each as `node number`, in order."""
        return [" ".join(line.split()[:2]) for line in self._lines()]

    def keys(self) -> list[str]:
        """The idempotency keys of the attempts, in order."""
        return [line.split()[2] for line in self._lines()]

    def _lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


@dataclass(frozen=True, slots=True)
class Notes:
    """What nodes of `process_nodes` write down; pass `str(notes)` to a node."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    async def wait(self, count: int) -> list[str]:
        """Waits until so many lines are there and gives all; raises TimeoutError when they do not come."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(lines := self._lines()) < count:
                await asyncio.sleep(POLL_SECONDS)
        return lines

    def _lines(self) -> list[str]:
        text = self.path.read_text() if self.path.exists() else ""
        return text[: text.rfind("\n") + 1].splitlines()
