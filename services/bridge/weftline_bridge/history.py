"""The newest durable messages of one workflow, kept encoded so that a late or returning reader costs nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from weftline_bridge.frames import Message


@dataclass(frozen=True, slots=True)
class RingLimits:
    """How much a ring keeps: messages, bytes of JSON, and seconds."""

    events: int = 4096
    bytes: int = 1024 * 1024
    age: float = 300.0


class Ring:
    """Contiguous durable messages up to the head, oldest dropped first."""

    __slots__ = ("_dropped", "_ends", "_limits", "_marks", "_messages")

    def __init__(self, limits: RingLimits) -> None:
        self._limits = limits
        self._messages: deque[Message] = deque()
        self._marks: deque[tuple[float, int]] = deque()
        self._ends: deque[int] = deque()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def bytes(self) -> int:
        """Bytes of JSON that are kept."""
        return self._ends[-1] - self._dropped if self._ends else 0

    def bytes_after(self, seq: int) -> int:
        """Bytes of JSON of the kept messages after `seq`."""
        if not self._messages:
            return 0
        passed = seq - self._messages[0].seq
        if passed >= len(self._messages):
            return 0
        return self._ends[-1] - (self._ends[passed] if passed >= 0 else self._dropped)

    def extend(self, messages: Sequence[Message], now: float) -> None:
        """Add the messages that follow the newest one kept; `now` is a monotonic time in seconds.

        Raises ValueError when they do not follow it.
        """
        if not messages:
            return
        if self._messages and messages[0].seq != self._messages[-1].seq + 1:
            raise ValueError(f"seq {messages[0].seq} does not follow {self._messages[-1].seq}")
        self._messages.extend(messages)
        end = self._ends[-1] if self._ends else self._dropped
        sizes = [len(message.data) for message in messages]
        self._ends.extend(islice(accumulate(sizes, initial=end), 1, None))
        self._marks.append((now, messages[-1].seq))
        self._drop(len(self._messages) - self._limits.events, self._ends[-1] - self._limits.bytes)

    def reach_back(self, messages: Sequence[Message], head: int, now: float) -> None:
        """Put older messages before those that are kept up to `head`, as far as they join up and there is room.

        They are contiguous. What is kept already is left out, and the oldest are where there is no room for all.
        """
        first = self._messages[0].seq if self._messages else head + 1
        older = [message for message in messages if message.seq < first]
        if not older or older[-1].seq != first - 1:
            return
        room = self._limits.bytes - self.bytes
        for message in reversed(older):
            room -= len(message.data)
            if room < 0 or len(self._messages) >= self._limits.events:
                break
            self._messages.appendleft(message)
            self._ends.appendleft(self._dropped)
            self._dropped -= len(message.data)
        # Where others are kept these expire with the oldest of them, so that the marks stay in the order of time.
        if self._messages and not self._marks:
            self._marks.append((now, older[-1].seq))

    def expire(self, now: float) -> None:
        """Drop what is older than the age limit."""
        marks = self._marks
        while marks and now - marks[0][0] > self._limits.age:
            _, seq = marks.popleft()
            if self._messages:
                self._drop(seq + 1 - self._messages[0].seq, 0)

    def clear(self) -> None:
        """Forget everything: what comes next does not follow it."""
        self._messages.clear()
        self._marks.clear()
        self._ends.clear()
        self._dropped = 0

    def covers(self, seq: int, head: int) -> bool:
        """Whether every message after `seq` up to `head` is here."""
        return seq == head or bool(self._messages and self._messages[0].seq <= seq + 1 <= head)

    def after(self, seq: int, max_bytes: int | None = None) -> list[Message]:
        """The kept messages after `seq`, oldest first; at least one and else at most `max_bytes` of them."""
        if not self._messages:
            return []
        start = max(0, seq + 1 - self._messages[0].seq)
        found = islice(self._messages, start, None)
        if max_bytes is None:
            return list(found)
        chosen: list[Message] = []
        for message in found:
            max_bytes -= len(message.data)
            if max_bytes < 0 and chosen:
                break
            chosen.append(message)
        return chosen

    def _drop(self, number: int, end: int) -> None:
        """Drop the oldest: at least `number` of them, and all that begin before the byte `end`."""
        messages, ends, dropped = self._messages, self._ends, self._dropped
        while messages and (number > 0 or dropped < end):
            messages.popleft()
            dropped = ends.popleft()
            number -= 1
        self._dropped = dropped
        first = messages[0].seq if messages else None
        while self._marks and (first is None or self._marks[0][1] < first):
            self._marks.popleft()
