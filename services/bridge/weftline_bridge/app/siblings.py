"""The other workers of a bridge, as one of them reaches them: through the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable

import msgspec

from weftline_bridge.errors import NoAnswerError
from weftline_bridge.workers.channel import Answer, Channel
from weftline_bridge.workers.messages import Family, Leaving, Others, Post, Question, Said, Serving

ASK_SECONDS = 3.0
"""How long the others may take, of which the supervisor waits for each a second less."""

_said = msgspec.msgpack.Decoder(list[Said]).decode
_encode = msgspec.msgpack.Encoder().encode


class Siblings:
    """The other workers, reached through the supervisor; with no `post` there are none."""

    def __init__(self, post: Post | None) -> None:
        self.post = post
        self._channel: Channel | None = None

    @property
    def number(self) -> int:
        """The own number, 0 without others."""
        return 0 if self.post is None else self.post.worker

    def listeners(self) -> list[socket.socket]:
        """The sockets on which this worker accepts clients; to be called once."""
        return [] if self.post is None else [socket.socket(fileno=number) for number in self.post.listeners]

    async def join(self, control: int, answer: Answer) -> None:
        """Talk with the supervisor until it is gone, over the descriptor `control`; its questions go to `answer`."""
        channel = self._channel = await Channel.over(socket.socket(fileno=control), answer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(channel.serve(), name="supervisor-channel")
            tasks.create_task(_tell(channel, Serving()), name="supervisor-greeting")

    async def leave(self, families: list[Family]) -> None:
        """Tell the supervisor that this worker ends, and what it has counted."""
        if self._channel is not None:
            await _tell(self._channel, Leaving(families))

    async def ask(self, question: Question) -> list[Said]:
        """What the other workers answer; of those that do not answer in time, that."""
        if self.post is None:
            return []
        try:
            if self._channel is None:
                raise NoAnswerError("the supervisor is not reached yet")
            return _said(await self._channel.ask(Others(msgspec.Raw(_encode(question))), ASK_SECONDS))
        except NoAnswerError:
            others = (number for number in range(1, self.post.workers + 1) if number != self.post.worker)
            return [Said(number, "silent") for number in others]


async def _tell(channel: Channel, message: Serving | Leaving) -> None:
    # Where nobody hears it the channel ends, and that is seen.
    with contextlib.suppress(NoAnswerError):
        await channel.ask(message, ASK_SECONDS)


def missing(said: Iterable[Said]) -> list[int]:
    """The workers that did not answer."""
    return [each.worker for each in said if each.state != "answered"]
