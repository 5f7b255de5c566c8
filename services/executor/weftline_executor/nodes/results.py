"""What a node may return besides a JSON value."""

from typing import Literal

import msgspec


class Branch(msgspec.Struct, frozen=True):
    """Says which output handle fires, and with what; every other handle of the node is not taken."""

    handle: str
    output: object = None


class Skip(msgspec.Struct, frozen=True):
    """Says that the node is skipped after all, and what follows from that: there was nothing to map over."""

    reason: Literal["empty_map"]


class Wait(msgspec.Struct, frozen=True):
    """Says that the node waits for a word from outside: to be approved or rejected, or for an event.

    `message` is shown to people, `event` is the event's name. After `deadline` seconds, which count from the start of
    the attempt, `default` is taken for the answer; without one the node fails. None is no limit.
    """

    kind: Literal["approval", "event"]
    message: str = ""
    event: str = ""
    deadline: float | None = None
    default: object = msgspec.UNSET
