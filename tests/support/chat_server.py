"""A service that speaks OpenAI's chat completions, whose answers a test writes byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

STREAM = "text/event-stream"


def chunk(text: str = "", **more: Any) -> dict[str, Any]:
    """A chunk of a stream with this text; `finish_reason` and other keys go into its choice."""
    return {"id": "c", "model": "tiny-1", "choices": [{"index": 0, "delta": {"content": text}, **more}]}


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """The chunk at the end of a stream that says what it cost."""
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"id": "c", "model": "tiny-1", "choices": [], "usage": tokens}


def events(*bodies: dict[str, Any] | str, end: str = "\n\n") -> bytes:
    """A stream of these bodies, each an event."""
    texts = [body if isinstance(body, str) else json.dumps(body, ensure_ascii=False) for body in bodies]
    return "".join(f"data: {text}{end}" for text in texts).encode()


def whole(text: str, **message: Any) -> dict[str, Any]:
    """An answer in one piece."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    return {"id": "c", "model": "tiny-1", "choices": [choice], "usage": usage(3, 5)["usage"]}


@dataclass(slots=True)
class Answer:
    """What the server does with one request: sends `pieces`, each by itself, and waits for `gate` before the last."""

    pieces: Sequence[bytes] = ()
    status: int = 200
    content_type: str = STREAM
    headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None

    @classmethod
    def json(cls, body: object, status: int = 200, **headers: str) -> Answer:
        """An answer that is JSON."""
        return cls([json.dumps(body).encode()], status, "application/json", headers)


class ChatServer:
    """Gives its answers one after another, the last of them from then on; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.hung_up = asyncio.Event()
        self.arrived = asyncio.Event()
        app = web.Application()
        app.router.add_post("/{path:.*}", self._serve)
        self._server = TestServer(app, host="127.0.0.1")

    @property
    def base_url(self) -> str:
        """What `baseUrl` has to be."""
        return str(self._server.make_url("/v1"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ChatServer]:
        """Serves until the block ends."""
        await self._server.start_server()
        try:
            yield self
        finally:
            await self._server.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.paths.append(request.path_qs)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.content_type = answer.content_type
        await response.prepare(request)
        self.arrived.set()
        try:
            for at, piece in enumerate(answer.pieces):
                if answer.gate is not None and at == len(answer.pieces) - 1:
                    await answer.gate.wait()
                await response.write(piece)
        except (asyncio.CancelledError, ConnectionError):
            self.hung_up.set()
            raise
        return response
