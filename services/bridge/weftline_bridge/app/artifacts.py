"""Serves artifacts: streams what a node gave from the executor to a browser, which must not take it for a page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from weftline_bridge.app.answers import problem
from weftline_bridge.app.guard import IDENTITY
from weftline_bridge.errors import CommandRefusedError, ExecutorUnavailableError, UnknownArtifactError
from weftline_bridge.protocol.checks import WORKFLOW_ID
from weftline_bridge.upstream import ExecutorClient

_log = logging.getLogger(__name__)

MAX_URI = 512
MAX_READERS = 64
"""Artifacts that are read at one time; each keeps a few pieces in memory, however large it is."""

_JSON = "application/json"
# What a node gave may be anything, a script too. So it is never shown as a page of the bridge's own origin: it has a
# type that no browser runs or guesses away from, and is saved, put in no frame and loaded by no other site.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-store",
    "Vary": "Accept",
}


class Artifacts:
    """The handler of `/api/artifacts/URI`; a reader that takes nothing for `stall_seconds` is let go.

    `readers` is how many there are now.
    """

    def __init__(self, client: ExecutorClient, *, stall_seconds: float) -> None:
        self._client = client
        self._stall_seconds = stall_seconds
        self.readers = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The artifact's bytes, as JSON if that is what `Accept` asks for, and else as bytes to be saved."""
        uri = request.match_info["uri"]
        if len(uri) > MAX_URI:
            return problem(404, "unknown_artifact", f"the name of an artifact has at most {MAX_URI} characters")
        if self.readers >= MAX_READERS:
            message = f"{MAX_READERS} artifacts are being read; try again"
            return problem(503, "overloaded", message, {"Retry-After": "1"})
        self.readers += 1
        try:
            answer: web.StreamResponse | None = await self._refusal(request, uri)
            if answer is None:
                async with aclosing(self._client.artifact(uri)) as pieces:
                    answer = await self._stream(request, pieces)
            return answer
        except UnknownArtifactError as error:
            return problem(404, error.code, error.message)
        except ExecutorUnavailableError as error:
            return problem(503, error.code, error.message)
        except CommandRefusedError as error:
            return problem(502, error.code, error.message)
        finally:
            self.readers -= 1

    async def _refusal(self, request: web.Request, uri: str) -> web.Response | None:
        """Why the client may not have an artifact; None when it may.

        An artifact is of a run, and permissions are for workflows: who may not view all of them says of which it is.
        """
        scope = request[IDENTITY].view
        if scope.everything:
            return None
        workflow_id = request.query.get("workflowId", "")
        if not WORKFLOW_ID.fullmatch(workflow_id):
            return problem(400, "bad_query", "workflowId: expected the workflow that the artifact is of")
        if not scope.covers(workflow_id):
            return problem(403, "forbidden", f"the token does not permit viewing {workflow_id}")
        run_id = uri.partition(":")[2].partition("/")[0]
        if not await self._client.has_run(workflow_id, run_id):
            return problem(404, "unknown_artifact", f"{workflow_id} has no such artifact")
        return None

    async def _stream(self, request: web.Request, pieces: AsyncGenerator[bytes, None]) -> web.StreamResponse:
        # What is wrong with the name shows with the first piece, while there is still a status to say it with.
        piece = await anext(pieces, None)
        response = web.StreamResponse(headers={**_HEADERS, "Content-Type": _content_type(request)})
        await response.prepare(request)
        try:
            while piece is not None:
                async with asyncio.timeout(self._stall_seconds):
                    await response.write(piece)
                piece = await anext(pieces, None)
            await response.write_eof()
        except (CommandRefusedError, UnknownArtifactError, TimeoutError, ConnectionError) as error:
            # The answer has begun, so that only a broken connection can say that it is not whole.
            _log.warning("an artifact was not sent to its end: %s", str(error) or "its reader takes nothing")
            if request.transport is not None:
                request.transport.abort()
        return response


def _content_type(request: web.Request) -> str:
    ranges = (part.partition(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(","))
    return _JSON if _JSON in ranges else "application/octet-stream"
