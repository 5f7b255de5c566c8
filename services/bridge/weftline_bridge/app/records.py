"""The flight recorder over HTTP: what happened to a connection or a workflow, as JSON or as a file of lines."""

from __future__ import annotations

import msgspec
from aiohttp import web

from weftline_bridge.app.answers import json_answer, problem
from weftline_bridge.app.desk import Desk, Recorded
from weftline_bridge.app.guard import IDENTITY
from weftline_bridge.app.siblings import Siblings, missing
from weftline_bridge.workers.messages import ConnectionRecord, WorkflowRecord

NDJSON = "application/x-ndjson"
_FORMATS = ("", "json", "ndjson")

_recorded = msgspec.msgpack.Decoder(Recorded | None).decode


class RecordPages:
    """The handlers; 404 for what is not known, or not any more, to any worker."""

    def __init__(self, desk: Desk, siblings: Siblings) -> None:
        self._desk = desk
        self._siblings = siblings

    async def connection(self, request: web.Request) -> web.Response:
        """What happened to one connection, and how it stands."""
        identity = request[IDENTITY]
        question = ConnectionRecord(request.match_info["id"], identity.subject, identity.view.everything)
        own = self._desk.connection(question)
        found, silent = ([own], []) if own is not None else await self._elsewhere(question)
        if not found:
            return self._unknown("connection", silent)
        return _answer(request, found[0], f"connection-{question.id}")

    async def workflow(self, request: web.Request) -> web.Response:
        """What came from the executor of one workflow; with `connection` only to the worker that has that one."""
        question = WorkflowRecord(request.match_info["id"], request.query.get("connection", ""))
        if not request[IDENTITY].view.covers(question.id):
            return self._unknown("workflow", [])
        own = self._desk.workflow(question)
        others, silent = ([], []) if own is not None and question.beside else await self._elsewhere(question)
        found = others if own is None else [own, *others]
        if not found:
            return self._unknown("workflow", silent)
        together = found[0] if len(found) == 1 else _together(found)
        if silent:
            together.head["unansweredWorkers"] = silent
        return _answer(request, together, "workflow")

    async def _elsewhere(self, question: ConnectionRecord | WorkflowRecord) -> tuple[list[Recorded], list[int]]:
        """What other workers have recorded, and which did not answer."""
        said = await self._siblings.ask(question)
        answers = (_recorded(each.answer) for each in said if each.state == "answered")
        return [each for each in answers if each is not None], missing(said)

    def _unknown(self, what: str, silent: list[int]) -> web.Response:
        if not self._desk.records:
            return problem(404, "recorder_off", "the flight recorder is off (WEFTLINE_BRIDGE_RECORDER)")
        if silent:
            message = f"not all workers answered ({', '.join(map(str, silent))}), and the others have no such record"
            return problem(503, "worker_away", message, {"Retry-After": "2"})
        return problem(404, "not_recorded", f"there is no record of this {what}, or not any more")


def _together(found: list[Recorded]) -> Recorded:
    """The records of several workers in the order in which things happened."""
    head = {**found[0].head, "completeSince": max(each.head["completeSince"] for each in found)}
    return Recorded(head, sorted((record for each in found for record in each.records), key=lambda record: record.at))


def _answer(request: web.Request, recorded: Recorded, name: str) -> web.Response:
    wanted = request.query.get("format", "")
    if wanted not in _FORMATS:
        return problem(400, "bad_query", f"format: expected json or ndjson, got {wanted!r}")
    if wanted == "ndjson" or (not wanted and NDJSON in request.headers.get("Accept", "")):
        body = msgspec.json.Encoder().encode_lines([recorded.head, *recorded.records])
        saved_as = {"Content-Disposition": f'attachment; filename="{name}.ndjson"'}
        return web.Response(body=body, content_type=NDJSON, headers=saved_as)
    return json_answer({**recorded.head, "records": recorded.records})
