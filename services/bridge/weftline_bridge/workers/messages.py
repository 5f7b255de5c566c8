"""What a supervisor and its workers say to each other, as MessagePack."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

SUPERVISOR: Final = "supervisor"
"""The supervisor's name where workers have their numbers."""


class Post(msgspec.Struct, frozen=True):
    """What a worker is told when it is started, on its command line.

    It is number `worker` of `workers`. `supervisor` is a process id, `control` and `listeners` are descriptors that it
    inherits: its end of the channel, and the sockets on which it accepts clients. `metrics` is where the supervisor
    serves the metrics of all.
    """

    worker: int
    workers: int
    supervisor: int
    control: int
    listeners: tuple[int, ...]
    metrics: str


class Family(msgspec.Struct, array_like=True, frozen=True):
    """A metric with its samples, each a name, labels and a value."""

    name: str
    help: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


class Serving(msgspec.Struct, tag=True):
    """To the supervisor: clients are served from now on."""


class Leaving(msgspec.Struct, tag=True):
    """To the supervisor: this worker ends, and these are its counts."""

    families: list[Family]


class Others(msgspec.Struct, tag=True):
    """To the supervisor: put a question to all other workers; the answer is a list of `Said`."""

    question: msgspec.Raw


class Health(msgspec.Struct, tag=True):
    """To a worker: does it work? The answer is True."""


class Ready(msgspec.Struct, tag=True):
    """To a worker: can it serve clients? The answer is the reason why not, empty if it can."""


class Report(msgspec.Struct, tag=True):
    """To a worker: its metrics, as a list of `Family`; `elsewhere` tells it how many connections the others have."""

    elsewhere: int


class Connections(msgspec.Struct, tag=True):
    """To a worker: its connections; those of one subject unless it is asked for all."""

    subject: str
    everyone: bool


class ConnectionRecord(msgspec.Struct, tag=True):
    """To a worker: what it recorded of a connection, if that is of this subject or it is asked for anyone's."""

    id: str
    subject: str
    everyone: bool


class WorkflowRecord(msgspec.Struct, tag=True):
    """To a worker: what it recorded of a workflow; only if it knows the connection `beside`, where that is given."""

    id: str
    beside: str


_NOTHING: Final = msgspec.Raw(msgspec.msgpack.encode(None))

Question = Health | Ready | Report | Connections | ConnectionRecord | WorkflowRecord
Request = Serving | Leaving | Others


class Said(msgspec.Struct, frozen=True):
    """What one worker answered; one that is `away` is being started, and a `silent` one was asked in vain."""

    worker: int
    state: Literal["answered", "away", "silent"]
    answer: msgspec.Raw = _NOTHING
