"""What waits to be written to one connection: in order, bounded, telemetry conflated when the reader is slow."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from weftline_bridge.frames import Batch, Message, StateKey

_NO_BATCHES: list[Batch] = []


class Outbox:
    """Queues batches for a reader that keeps up, and single messages for one that does not.

    A reader that keeps up takes all that came in one turn of the loop, as the shared batches
    themselves. Once `hold` was called messages are kept one by one, so that a newer message with the
    same key replaces the older one; it takes the newer one's place in the order.
    """

    __slots__ = ("_batches", "_held", "_serial", "_weight", "_weights", "conflated")

    def __init__(self) -> None:
        self._batches: list[Batch] = _NO_BATCHES
        self._held: OrderedDict[int | StateKey, Message] | None = None
        self._weights: dict[int | StateKey, int] = {}
        self._serial = 0
        self._weight = 0
        self.conflated = 0

    @property
    def weight(self) -> int:
        """Bytes that wait and count towards the bound."""
        return self._weight

    @property
    def holding(self) -> bool:
        """Whether the reader is known to be slow."""
        return self._held is not None

    def __len__(self) -> int:
        held = len(self._held) if self._held is not None else 0
        return held + sum(len(batch.messages) for batch in self._batches)

    def push(self, batch: Batch) -> None:
        """Queue a batch behind all that waits."""
        if self._held is not None:
            self._keep(batch)
            return
        if self._batches:
            self._batches.append(batch)
        else:
            self._batches = [batch]
        self._weight += batch.weight

    def take_batches(self) -> list[Batch]:
        """Take everything; only while the reader is not held."""
        batches = self._batches
        self._batches = _NO_BATCHES
        self._weight = 0
        return batches

    def hold(self) -> None:
        """From now on keep messages one by one and conflate them."""
        if self._held is not None:
            return
        batches = self.take_batches()
        self._held = OrderedDict()
        self._weights = {}
        for batch in batches:
            self._keep(batch)

    def take_held(self, max_bytes: int) -> Sequence[Message]:
        """Take the oldest held messages: at least one, and else at most `max_bytes`.

        When all are gone the reader counts as one that keeps up again.
        """
        held = self._held
        if held is None:
            return []
        taken: list[Message] = []
        room = max_bytes
        while held:
            key, message = next(iter(held.items()))
            room -= len(message.data)
            if room < 0 and taken:
                break
            del held[key]
            self._weight -= self._weights.pop(key)
            taken.append(message)
        if not held:
            self._held = None
        return taken

    def clear(self) -> None:
        """Forget all that waits."""
        self._batches = _NO_BATCHES
        self._held = None
        self._weights = {}
        self._weight = 0

    def _keep(self, batch: Batch) -> None:
        held = self._held
        if held is None:
            raise RuntimeError("the outbox is not holding")
        for message in batch.messages:
            key: int | StateKey
            if message.key is None:
                self._serial += 1
                key = self._serial
            else:
                key = message.key
                if held.pop(key, None) is not None:
                    self._weight -= self._weights.pop(key)
                    self.conflated += 1
            held[key] = message
            weight = len(message.data) if batch.weight else 0
            self._weights[key] = weight
            self._weight += weight
