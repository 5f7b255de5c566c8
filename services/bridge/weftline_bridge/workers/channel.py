"""Questions and answers between a supervisor and a worker, over a pair of sockets that nobody else can reach."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable

import msgspec

from weftline_bridge.errors import NoAnswerError

_log = logging.getLogger(__name__)

MAX_BYTES = 64 * 1024 * 1024
"""Size of one message, enough for a hundred thousand connections."""

MAX_OPEN = 256
"""Questions of one side that wait for an answer."""

_LENGTH_BYTES = 4

Answer = Callable[[msgspec.Raw], Awaitable[object]]


class _Asked(msgspec.Struct, tag=True):
    id: int
    question: msgspec.Raw


class _Answered(msgspec.Struct, tag=True):
    id: int
    answer: msgspec.Raw


_Message = _Asked | _Answered
_encode = msgspec.msgpack.Encoder().encode
_messages: msgspec.msgpack.Decoder[_Message] = msgspec.msgpack.Decoder(_Message)


class Channel:
    """One end. `answer` is called with each question of the other side; one that it fails on gets no answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._open = 0

    @classmethod
    async def over(cls, end: socket.socket, answer: Answer) -> Channel:
        """The channel over one end of a pair of sockets, which it takes over."""
        return cls(*await asyncio.open_unix_connection(sock=end), answer)

    async def serve(self) -> None:
        """Take what comes until the other side is gone, and answer its questions."""
        async with asyncio.TaskGroup() as answers:
            try:
                while (message := await self._receive()) is not None:
                    if isinstance(message, _Answered):
                        self._take(message)
                    elif self._open < MAX_OPEN:
                        self._open += 1
                        answers.create_task(self._reply(message), name=f"answer-{message.id}")
            finally:
                self._writer.close()
                for waiting in self._waiting.values():
                    waiting.cancel()

    async def ask(self, question: object, seconds: float) -> msgspec.Raw:
        """Give the answer to a question; raises NoAnswerError when none comes in time."""
        if len(self._waiting) >= MAX_OPEN:
            raise NoAnswerError("too many questions wait for an answer")
        number = next(self._numbers)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(seconds):
                await self._send(_Asked(number, msgspec.Raw(_encode(question))))
                await asyncio.wait([answer])
        except TimeoutError:
            raise NoAnswerError(f"no answer came within {seconds:g} s") from None
        except OSError as error:
            raise NoAnswerError(str(error)) from error
        finally:
            del self._waiting[number]
        if answer.cancelled():
            raise NoAnswerError("the other side is gone")
        return answer.result()

    async def _reply(self, asked: _Asked) -> None:
        try:
            answer = await self._answer(asked.question)
            await self._send(_Answered(asked.id, msgspec.Raw(_encode(answer))))
        except OSError as error:
            _log.debug("an answer was not sent: %s", error)
        except Exception:
            _log.exception("a question could not be answered")
        finally:
            self._open -= 1

    def _take(self, answered: _Answered) -> None:
        waiting = self._waiting.get(answered.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answered.answer)

    async def _send(self, message: _Message) -> None:
        body = _encode(message)
        if len(body) > MAX_BYTES:
            raise OSError(f"a message of {len(body)} bytes is too large")
        if self._writer.is_closing():
            raise ConnectionResetError("the other side is gone")
        self._writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
        await self._writer.drain()

    async def _receive(self) -> _Message | None:
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            if length > MAX_BYTES:
                _log.error("a message of %d bytes is too large; the channel is closed", length)
                return None
            return _messages.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
