"""What waits to be written to one connection: in order, bounded, thinned out step by step when the reader is slow."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from weftline_bridge.frames import Batch, Message, StateKey

GAP_WEIGHT = 256
"""What a gap counts for, in bytes: about its size once it is a message."""

_DEBUG, _INFO = 1, 2
_NO_BATCHES: list[Batch] = []
_NONE: tuple[str, ...] = ()


class Mode(StrEnum):
    """How a reader is served."""

    NORMAL = "normal"
    CONFLATING = "conflating"
    SHEDDING = "shedding"


@dataclass(frozen=True, slots=True)
class Ladder:
    """Above how many waiting bytes which step is taken for a slow reader.

    Logs of level debug are shed, then those of level info too, then the events of whole workflows make way for
    their state, and above `close` the connection is given up. Below `calm` nothing more is shed.
    """

    calm: int
    shed_debug: int
    shed_info: int
    replace: int
    close: int

    @classmethod
    def up_to(cls, most: int) -> Ladder:
        """The steps below a bound of `most` bytes: at a quarter, a half and three quarters of it."""
        return cls(most // 8, most // 4, most // 2, most * 3 // 4, most)


@dataclass(slots=True)
class Gap:
    """The seqs `first` to `last` of a workflow were shed; `dropped` counts them by type."""

    workflow_id: str
    first: int
    last: int
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Tally:
    """What was done for a slow reader since this was last looked at; `cut` counts workflows."""

    conflated: int = 0
    shed: Counter[int] = field(default_factory=Counter)
    cut: int = 0


_Key = int | StateKey
_Entry = tuple[Message | Gap, int, float]


class Outbox:
    """Queues batches for a reader that keeps up, and single messages for one that does not.

    A reader that keeps up takes all that came in one turn of the loop, as the shared batches
    themselves. Once `hold` was called messages are kept one by one, so that a newer message with the
    same key replaces the older one; it takes the newer one's place in the order.

    With `states`, the types of messages that tell a whole state or where a gap is, the outbox also sheds logs, with
    a gap in their place, and in the end cuts workflows: all that waits of their events is dropped, and so is what
    comes, until `reopen`. Who owns the outbox then tells their state. Without `states` it only conflates.

    Times are in seconds of any clock that does not go back.
    """

    __slots__ = (
        "_batches",
        "_gaps",
        "_held",
        "_ladder",
        "_serial",
        "_shed_level",
        "_states",
        "_weight",
        "cut",
        "tally",
    )

    def __init__(self, ladder: Ladder, states: Collection[str] = ()) -> None:
        self._ladder = ladder
        self._states = states
        self._batches: list[Batch] = _NO_BATCHES
        self._held: OrderedDict[_Key, _Entry] | None = None
        self._gaps: dict[str, Gap] = {}
        self._shed_level = 0
        self._serial = 0
        self._weight = 0
        self.cut: set[str] = set()
        self.tally = Tally()

    @property
    def weight(self) -> int:
        """Bytes that wait and count towards the bound."""
        return self._weight

    @property
    def holding(self) -> bool:
        """Whether the reader is known to be slow."""
        return self._held is not None

    @property
    def full(self) -> bool:
        """Whether more waits than may wait."""
        return self._weight > self._ladder.close

    @property
    def mode(self) -> Mode:
        """How the reader is served now."""
        if self._shed_level or self.cut:
            return Mode.SHEDDING
        return Mode.NORMAL if self._held is None else Mode.CONFLATING

    def __len__(self) -> int:
        held = len(self._held) if self._held is not None else 0
        return held + sum(len(batch.messages) for batch in self._batches)

    def lag(self, now: float) -> float:
        """For how long the oldest held message has waited, in seconds."""
        for _, _, since in self._held.values() if self._held else ():
            return now - since
        return 0.0

    def push(self, batch: Batch, now: float) -> Sequence[str]:
        """Queue a batch behind all that waits; the workflows that had to be cut for it."""
        held = self._held
        if held is not None:
            self._keep_all(held, batch, now)
            return self._thin_out(held)
        if self.cut:
            batch = Batch([each for each in batch.messages if not self._is_cut(each)], counted=batch.weight > 0)
            if not batch.messages:
                return _NONE
        if self._batches:
            self._batches.append(batch)
        else:
            self._batches = [batch]
        self._weight += batch.weight
        return _NONE

    def take_batches(self) -> list[Batch]:
        """Take everything; only while the reader is not held."""
        batches = self._batches
        self._batches = _NO_BATCHES
        self._weight = 0
        return batches

    def hold(self, now: float) -> Sequence[str]:
        """From now on keep messages one by one and conflate them; the workflows that had to be cut at once."""
        if self._held is not None:
            return _NONE
        batches = self.take_batches()
        held = self._held = OrderedDict()
        for batch in batches:
            self._keep_all(held, batch, now)
        return self._thin_out(held)

    def take_held(self, max_bytes: int) -> list[Message | Gap]:
        """Take the oldest of what is held: at least one, and else at most `max_bytes`.

        When all is gone the reader counts as one that keeps up again.
        """
        held = self._held
        if held is None:
            return []
        taken: list[Message | Gap] = []
        room = max_bytes
        while held:
            key, (item, weight, _) = next(iter(held.items()))
            room -= GAP_WEIGHT if isinstance(item, Gap) else len(item.data)
            if room < 0 and taken:
                break
            del held[key]
            self._weight -= weight
            if isinstance(item, Gap) and self._gaps.get(item.workflow_id) is item:
                del self._gaps[item.workflow_id]
            taken.append(item)
        if not held:
            self._held = None
        if not held or self._weight < self._ladder.calm:
            self._shed_level = 0
        return taken

    def reopen(self, workflow_id: str) -> None:
        """Queue the events of a workflow again that was cut: what it was cut off from is being told otherwise."""
        self.cut.discard(workflow_id)

    def clear(self) -> None:
        """Forget all that waits."""
        self._batches = _NO_BATCHES
        self._held = None
        self._gaps.clear()
        self.cut.clear()
        self._shed_level = 0
        self._weight = 0

    def _keep_all(self, held: OrderedDict[_Key, _Entry], batch: Batch, now: float) -> None:
        counted = batch.weight > 0
        for message in batch.messages:
            if not self.cut or not self._is_cut(message):
                self._keep(held, message, len(message.data) if counted else 0, now)

    def _keep(self, held: OrderedDict[_Key, _Entry], message: Message, weight: int, since: float) -> None:
        if message.key is not None:
            replaced = held.pop(message.key, None)
            if replaced is not None:
                self._weight -= replaced[1]
                self.tally.conflated += 1
            self._put(held, message.key, (message, weight, since))
        elif message.seq and 0 < message.level <= self._shed_level:
            self.tally.shed[message.level] += 1
            seq = message.seq
            self._leave_gap(held, Gap(message.workflow_id, seq, seq, Counter((message.type,))), since)
        else:
            # Whatever else is said of the workflow may change what the next seq means.
            self._gaps.pop(message.workflow_id, None)
            self._serial += 1
            self._put(held, self._serial, (message, weight, since))

    def _leave_gap(self, held: OrderedDict[_Key, _Entry], gap: Gap, since: float) -> None:
        before = self._gaps.get(gap.workflow_id)
        if before is not None and before.last + 1 == gap.first:
            before.last = gap.last
            before.dropped += gap.dropped
            return
        self._gaps[gap.workflow_id] = gap
        self._serial += 1
        self._put(held, self._serial, (gap, GAP_WEIGHT, since))

    def _put(self, held: OrderedDict[_Key, _Entry], key: _Key, entry: _Entry) -> None:
        held[key] = entry
        self._weight += entry[1]

    def _thin_out(self, held: OrderedDict[_Key, _Entry]) -> Sequence[str]:
        """Take the steps that the weight asks for; the workflows that were cut."""
        ladder = self._ladder
        if not self._states or self._weight <= ladder.shed_debug:
            return _NONE
        if self._shed_level < _DEBUG:
            self._shed_held(held, _DEBUG)
        if self._weight > ladder.shed_info and self._shed_level < _INFO:
            self._shed_held(held, _INFO)
        return self._cut_heaviest(held) if self._weight > ladder.replace else _NONE

    def _shed_held(self, held: OrderedDict[_Key, _Entry], level: int) -> None:
        self._shed_level = level
        entries = list(held.values())
        held.clear()
        self._gaps.clear()
        self._weight = 0
        for item, weight, since in entries:
            if isinstance(item, Gap):
                self._leave_gap(held, item, since)
            else:
                self._keep(held, item, weight, since)

    def _cut_heaviest(self, held: OrderedDict[_Key, _Entry]) -> Sequence[str]:
        """Cut the workflows that weigh most, until what remains is light; what answers a client stays."""
        weights: Counter[str] = Counter()
        for item, weight, _ in held.values():
            if self._is_event(item):
                weights[item.workflow_id] += weight
        chosen: list[str] = []
        rest = self._weight
        for workflow_id, weight in weights.most_common():
            if rest <= self._ladder.shed_debug or not weight:
                break
            chosen.append(workflow_id)
            rest -= weight
        self.cut.update(chosen)
        self.tally.cut += len(chosen)
        for key, (item, weight, _) in list(held.items()):
            if self._is_cut(item):
                del held[key]
                self._weight -= weight
        for workflow_id in chosen:
            self._gaps.pop(workflow_id, None)
        return chosen

    def _is_cut(self, item: Message | Gap) -> bool:
        return item.workflow_id in self.cut and self._is_event(item)

    def _is_event(self, item: Message | Gap) -> bool:
        """Whether `item` tells what happened in a workflow, and is no answer to a client."""
        if isinstance(item, Gap):
            return True
        return bool(item.workflow_id) and (item.seq > 0 or item.key is not None or item.type in self._states)
