"""The readers of a workflow's events, grouped by what they want to see of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from weftline_bridge.auth import Scope
from weftline_bridge.frames import Message
from weftline_bridge.hub.group import MOST_READERS, Group, Reader, Turns
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


class Audience:
    """Readers by view, and in each view in groups of one dialect."""

    __slots__ = ("_clock", "_turns", "views")

    def __init__(self, turns: Turns, clock: Callable[[], int]) -> None:
        self._turns = turns
        self._clock = clock
        self.views: dict[View, list[Group]] = {}

    def __bool__(self) -> bool:
        return bool(self.views)

    def __contains__(self, reader: Reader) -> bool:
        return self.view_of(reader) is not None

    def add(self, reader: Reader, view: View) -> None:
        """Add a reader that is not here."""
        groups = self.views.setdefault(view, [])
        fitting = (each for each in groups if each.dialect is reader.dialect and len(each.readers) < MOST_READERS)
        group = next(fitting, None)
        if group is None:
            group = Group(reader.dialect, self._turns, self._clock)
            groups.append(group)
        group.add(reader)

    def discard(self, reader: Reader) -> bool:
        """Remove a reader; whether it was there."""
        view = self.view_of(reader)
        if view is None:
            return False
        groups = self.views[view]
        group = next(each for each in groups if reader in each.readers)
        group.remove(reader)
        if not group.readers:
            groups.remove(group)
        if not groups:
            del self.views[view]
        return True

    def view_of(self, reader: Reader) -> View | None:
        """What a reader asked to see, None when it is not here."""
        for view, groups in self.views.items():
            for group in groups:
                if reader in group.readers:
                    return view
        return None

    def readers_in(self, view: View) -> list[Reader]:
        """The readers with one view."""
        return [reader for group in self.views.get(view, ()) for reader in group.readers]

    def readers(self) -> list[Reader]:
        """All readers."""
        return [reader for view in self.views for reader in self.readers_in(view)]

    def readers_of(self, workflow_id: str) -> list[Reader]:
        """All readers that see a workflow."""
        return [reader for view in self.views if view.covers(workflow_id) for reader in self.readers_in(view)]


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
