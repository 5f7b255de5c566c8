"""The readers of a workflow's events, grouped by what they want to see of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

from weftline_bridge.auth import Scope
from weftline_bridge.frames import Batch, Delivery, Dialect, Message
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.protocol.payloads import GapPayload


class View(NamedTuple):
    """What a reader wants: telemetry or not, and logs from this level (1 debug to 4 error) on.

    `scope` is what a reader of all workflows may see of them, None for every one.
    """

    telemetry: bool
    level: int
    scope: Scope | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is withheld of a workflow that it covers."""
        return self.telemetry and self.level <= 1

    def covers(self, workflow_id: str) -> bool:
        """Whether a reader of all workflows sees this one."""
        return self.scope is None or self.scope.covers(workflow_id)


WHOLE = View(telemetry=True, level=1)


class Reader(Protocol):
    """Someone to whom messages are delivered."""

    @property
    def dialect(self) -> Dialect:
        """The dialect in which it understands messages."""

    def offer(self, batch: Batch) -> None:
        """Take a batch for this reader in particular, without waiting and without failing."""

    def take(self, delivery: Delivery) -> None:
        """Take what it has in common with many others, after all that it was offered; as `offer` else."""

    async def room(self) -> None:
        """Return when all that was offered has been handed to its socket."""

    @property
    def cut_off(self) -> Collection[str]:
        """The workflows whose events it does not take any more, because it is too slow, until `reopen`."""

    def reopen(self, workflow_id: str) -> None:
        """Take the events of a workflow again."""


class Audience:
    """Readers by view, in the order in which they came."""

    __slots__ = ("views",)

    def __init__(self) -> None:
        self.views: dict[View, dict[Reader, None]] = {}

    def __bool__(self) -> bool:
        return bool(self.views)

    def __contains__(self, reader: Reader) -> bool:
        return any(reader in readers for readers in self.views.values())

    def add(self, reader: Reader, view: View) -> None:
        """Add a reader."""
        self.views.setdefault(view, {})[reader] = None

    def discard(self, reader: Reader) -> bool:
        """Remove a reader; whether it was there."""
        for view, readers in self.views.items():
            if reader in readers:
                del readers[reader]
                if not readers:
                    del self.views[view]
                return True
        return False

    def view_of(self, reader: Reader) -> View | None:
        """What a reader asked to see, None when it is not here."""
        return next((view for view, readers in self.views.items() if reader in readers), None)

    def readers(self) -> list[Reader]:
        """All readers."""
        return [reader for readers in self.views.values() for reader in readers]

    def readers_of(self, workflow_id: str) -> list[Reader]:
        """All readers that see a workflow."""
        covering = [readers for view, readers in self.views.items() if view.covers(workflow_id)]
        return [reader for readers in covering for reader in readers]


class Filter:
    """Withholds from one view what it does not want, and accounts for the seqs that are left out."""

    __slots__ = ("_dropped", "_first", "_last", "_mint", "_view", "_workflow_id")

    def __init__(self, view: View, workflow_id: str, mint: Mint) -> None:
        self._view = view
        self._workflow_id = workflow_id
        self._mint = mint
        self._first = self._last = 0
        self._dropped: dict[str, int] = {}

    def apply(self, messages: Sequence[Message]) -> list[Message]:
        """The messages of the view, with a gap before the next durable one for what was left out."""
        level = self._view.level
        passed: list[Message] = []
        for message in messages:
            if not message.seq:
                if self._view.telemetry or message.key is None:
                    passed.append(message)
            elif message.level and message.level < level:
                self._withhold(message)
            else:
                if self._first:
                    passed.extend(self.flush())
                passed.append(message)
        return passed

    def flush(self) -> list[Message]:
        """The gap for what was left out since the last durable message; nothing when there was nothing."""
        if not self._first:
            return []
        gap = self._mint.gap(self._workflow_id, GapPayload(self._first, self._last, self._dropped, "filtered"))
        self._first = self._last = 0
        self._dropped = {}
        return [gap]

    def _withhold(self, message: Message) -> None:
        self._first = self._first or message.seq
        self._last = message.seq
        self._dropped[message.type] = self._dropped.get(message.type, 0) + 1
