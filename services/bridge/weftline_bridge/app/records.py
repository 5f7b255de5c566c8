"""The flight recorder over HTTP: what happened to a connection or a workflow, as JSON or as a file of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from weftline_bridge.app.answers import json_answer, problem
from weftline_bridge.app.guard import IDENTITY
from weftline_bridge.hub import Hub
from weftline_bridge.recorder import Record
from weftline_bridge.session import Registry

NDJSON = "application/x-ndjson"
_FORMATS = ("", "json", "ndjson")


class RecordView(msgspec.Struct, rename="camel", omit_defaults=True):
    """A record as clients see it; times in ms since the Unix epoch, `from` and `to` are seqs."""

    kind: str
    at: int
    until: int
    workflow_id: str = ""
    from_: int = msgspec.field(name="from", default=0)
    to: int = 0
    count: int = 1
    bytes: int = 0
    word: str = ""


class RecordPages:
    """The handlers; 404 for what is not known, or not any more."""

    def __init__(self, hub: Hub, registry: Registry) -> None:
        self._hub = hub
        self._registry = registry

    async def connection(self, request: web.Request) -> web.Response:
        """What happened to one connection, and how it stands."""
        log = self._hub.recorder.connection(request.match_info["id"])
        if log is None:
            return self._unknown("connection")
        session = next((each for each in self._registry if each.id == log.id), None)
        if session is not None:
            session.tape.settle()
        identity, subject = request[IDENTITY], session.subject if session else log.subject
        if not identity.view.everything and subject != identity.subject:
            return self._unknown("connection")
        head: dict[str, Any] = {
            "connectionId": log.id,
            "dialect": log.dialect,
            "address": log.address,
            "openedAt": log.opened_at,
            "closedAt": log.closed_at,
            "closeCode": log.close_code,
            "completeSince": log.trace.complete_since,
            "mode": session.mode if session else "closed",
            "queuedBytes": session.queued_bytes if session else 0,
            "subscriptions": self._hub.subscriptions(session) if session else [],
        }
        return _answer(request, head, log.trace.records(), f"connection-{log.id}")

    async def workflow(self, request: web.Request) -> web.Response:
        """What came from the executor of one workflow."""
        log = self._hub.recorder.workflow(request.match_info["id"])
        if log is None or not request[IDENTITY].view.covers(log.id):
            return self._unknown("workflow")
        head = {"workflowId": log.id, "completeSince": log.trace.complete_since}
        return _answer(request, head, log.trace.records(), "workflow")

    def _unknown(self, what: str) -> web.Response:
        if not self._hub.recorder.enabled:
            return problem(404, "recorder_off", "the flight recorder is off (WEFTLINE_BRIDGE_RECORDER)")
        return problem(404, "not_recorded", f"there is no record of this {what}, or not any more")


def _answer(request: web.Request, head: dict[str, Any], records: Sequence[Record], name: str) -> web.Response:
    wanted = request.query.get("format", "")
    if wanted not in _FORMATS:
        return problem(400, "bad_query", f"format: expected json or ndjson, got {wanted!r}")
    views = [RecordView(*record) for record in records]
    if wanted == "ndjson" or (not wanted and NDJSON in request.headers.get("Accept", "")):
        body = msgspec.json.Encoder().encode_lines([head, *views])
        saved_as = {"Content-Disposition": f'attachment; filename="{name}.ndjson"'}
        return web.Response(body=body, content_type=NDJSON, headers=saved_as)
    return json_answer({**head, "records": views})
