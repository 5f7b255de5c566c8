"""Encoded messages, and batches of them whose socket bytes are made once for all readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import IntEnum

import msgspec

from weftline_bridge.frames.spans import About, Moment, Span, spans_of
from weftline_bridge.frames.websocket import array_frames, object_frames

StateKey = tuple[str, str]


class Dialect(IntEnum):
    """How messages are put into frames, and which of them a client understands."""

    PLAIN = 0
    V1 = 1


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message to clients, encoded.

    `data` is its JSON object. `seq` is 0 unless it is durable. `level` is 1 (debug) to 4 (error) on
    `execution.log` and else 0. `key` is set on messages of which only the newest matters; an equal
    `state` under an equal key says nothing new. `timestamp_ms` is the executor's clock, 0 when
    the bridge minted it. Clients of the plain dialect do not get those with `v1_only`. `node_id` is set on
    messages about a node's status. `about` says for the flight recorder what a message of the bridge itself is about.
    """

    data: bytes
    type: str
    workflow_id: str = ""
    seq: int = 0
    level: int = 0
    key: StateKey | None = None
    state: tuple[object, ...] | None = None
    timestamp_ms: int = 0
    v1_only: bool = False
    node_id: str = ""
    about: About | None = None


class Wire:
    """The socket bytes of one or more batches in one dialect, and how many clients got them."""

    __slots__ = ("_messages", "_spans", "count", "data", "deliveries", "size", "types")

    def __init__(self, data: bytes, messages: Sequence[Message]) -> None:
        types = Counter([message.type for message in messages])
        self._messages = messages
        self._spans: tuple[Span, ...] | None = None
        self.data = data
        self.types = types
        self.count = types.total()
        self.size = len(data)
        self.deliveries = 0

    @property
    def spans(self) -> tuple[Span, ...]:
        """What it is about, worked out when it is first asked for."""
        if self._spans is None:
            self._spans = spans_of(self._messages)
        return self._spans


class Batch:
    """Messages that are delivered together, in order, to any number of readers.

    `weight` is what the batch counts for in an outbox, in bytes: 0 for whole states, which all
    readers share and which a reader gets at most once at a time.
    """

    __slots__ = ("_wires", "messages", "weight")

    def __init__(self, messages: Sequence[Message], *, counted: bool = True) -> None:
        self.messages = messages
        self.weight = sum([len(message.data) for message in messages]) if counted else 0
        self._wires: list[Wire | None] = [None, None]

    def wire(self, dialect: Dialect) -> Wire:
        """The batch as socket bytes; empty when the dialect knows none of its messages."""
        wire = self._wires[dialect]
        if wire is None:
            wire = self._wires[dialect] = make_wire(self.messages, dialect)
        return wire


class Delivery:
    """What one turn of the loop brought for one group of readers: batches, and their socket bytes by dialect.

    `moments` is for those who write it, to record it once for all.
    """

    __slots__ = ("batches", "moments", "wires")

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.wires: list[Wire | None] = [None, None]
        self.moments: list[Moment | None] = [None, None]

    def wire(self, dialect: Dialect) -> Wire:
        """All batches as socket bytes, made when the first reader of that dialect asks."""
        wire = self.wires[dialect]
        if wire is None:
            if len(self.batches) == 1:
                wire = self.batches[0].wire(dialect)
            else:
                wire = make_wire([message for batch in self.batches for message in batch.messages], dialect)
            self.wires[dialect] = wire
        return wire


def make_wire(messages: Sequence[Message], dialect: Dialect) -> Wire:
    """Frame `messages` for one write in `dialect`."""
    if dialect is Dialect.V1:
        data = array_frames([message.data for message in messages])
    else:
        messages = [message for message in messages if not message.v1_only]
        data = object_frames([message.data for message in messages])
    return Wire(data, messages)
