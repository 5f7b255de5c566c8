"""The HTTP face besides the WebSocket: a page for people, probes, and what a console wants to know."""

from __future__ import annotations

from collections.abc import Awaitable
from html import escape

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from weftline_bridge.app.answers import json_answer, problem
from weftline_bridge.app.artifacts import Artifacts
from weftline_bridge.app.desk import ConnectionView, Desk
from weftline_bridge.app.guard import IDENTITY, addressed, guarded
from weftline_bridge.app.records import RecordPages
from weftline_bridge.app.siblings import Siblings, missing
from weftline_bridge.errors import CommandRefusedError, ExecutorUnavailableError
from weftline_bridge.metrics import Metrics
from weftline_bridge.session import Endpoint, Gatekeeper
from weftline_bridge.upstream import ExecutorClient
from weftline_bridge.workers.messages import Connections, Health, Ready

_MAX_PAGE = 1000
_views = msgspec.msgpack.Decoder(list[ConnectionView]).decode
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Weftline bridge</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }}</style></head>
<body>
<h1>Weftline bridge {version}</h1>
<p>This address speaks WebSocket: it casts the events of workflow runs to every client that connects.
It has no page of its own to show them yet.</p>
<ul>
<li>The protocol is described in <code>docs/protocol.md</code> and <code>docs/asyncapi.yaml</code>.</li>
<li><a href="/api/workflows">Workflows</a> and <a href="/api/connections">connections</a>, as JSON.</li>
<li>Probes: <a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a>.</li>
<li>Metrics for Prometheus: <code>http://{metrics}/metrics</code>.</li>
</ul>
</body>
</html>
"""


class Pages:
    """The handlers; every answer but the page is JSON or plain text."""

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        desk: Desk,
        siblings: Siblings,
        client: ExecutorClient,
        artifacts: Artifacts,
        gatekeeper: Gatekeeper,
        version: str,
        metrics_at: str,
    ) -> None:
        self._endpoint = endpoint
        self._desk = desk
        self._siblings = siblings
        self._client = client
        self._artifacts = artifacts
        self._gatekeeper = gatekeeper
        self._records = RecordPages(desk, siblings)
        self._page = _PAGE.format(version=escape(version), metrics=escape(metrics_at))

    def application(self) -> web.Application:
        """The application with all routes."""
        application = web.Application()
        for path, handler in (("", self.root), ("healthz", self.healthz), ("readyz", self.readyz)):
            application.router.add_get(f"/{path}", addressed(self._gatekeeper, handler))
        for path, handler in (
            ("connections", self.connections),
            ("workflows", self.workflows),
            ("recorder/connections/{id}", self._records.connection),
            ("recorder/workflows/{id}", self._records.workflow),
        ):
            application.router.add_get(f"/api/{path}", guarded(self._gatekeeper, handler))
        artifact = guarded(self._gatekeeper, self._artifacts.serve)
        application.router.add_get("/api/artifacts/{uri:.+}", artifact, allow_head=False)
        return application

    def root(self, request: web.Request) -> Awaitable[web.StreamResponse]:
        """Upgrade to a WebSocket, or show a browser what this is."""
        # It is no coroutine itself, since its frame would be kept for each connection for as long as that lasts.
        if request.headers.get("Upgrade", "").strip().lower() == "websocket":
            return self._endpoint.handle(request)
        return self._show_page()

    async def _show_page(self) -> web.StreamResponse:
        return web.Response(text=self._page, content_type="text/html")

    async def healthz(self, request: web.Request) -> web.Response:
        """200 when all processes of the bridge work; one that is being started again is no reason for alarm."""
        del request
        silent = [each.worker for each in await self._siblings.ask(Health()) if each.state == "silent"]
        if silent:
            return web.Response(status=503, text=f"worker {silent[0]} does not answer\n")
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """200 when all workers can serve clients, else 503: the executor is away, or the bridge is ending."""
        del request
        why = self._desk.unready()
        if not why:
            for each in await self._siblings.ask(Ready()):
                if each.state != "answered":
                    why = f"worker {each.worker} is not serving"
                else:
                    why = why or msgspec.msgpack.decode(each.answer, type=str)
        if why:
            return web.Response(status=503, text=f"{why}\n")
        return web.Response(text="ok\n")

    async def connections(self, request: web.Request) -> web.Response:
        """The open connections: all for who may view every workflow, for others their own."""
        identity = request[IDENTITY]
        question = Connections(identity.subject, identity.view.everything)
        views = self._desk.connections(question)
        said = await self._siblings.ask(question)
        for each in said:
            if each.state == "answered":
                views += _views(each.answer)
        views.sort(key=lambda view: (view.since, view.id))
        answer: dict[str, object] = {"connections": views}
        if silent := missing(said):
            answer["unansweredWorkers"] = silent
        return json_answer(answer)

    async def workflows(self, request: web.Request) -> web.Response:
        """A page of workflows, by `pageSize`, `pageToken`, `state` (any number of them), `idPrefix` and `bodies`.

        What the client may not view is left out, so that a page may hold less than its size.
        """
        query = request.query
        size = query.get("pageSize", "50")
        if not size.isascii() or not size.isdigit() or not 1 <= int(size) <= _MAX_PAGE:
            return problem(400, "bad_query", f"pageSize: expected 1 to {_MAX_PAGE}, got {size!r}")
        bodies = query.get("bodies", "0")
        if bodies not in ("0", "1"):
            return problem(400, "bad_query", f"bodies: expected 0 or 1, got {bodies!r}")
        try:
            page = await self._client.workflows(
                page_size=int(size),
                page_token=query.get("pageToken", ""),
                states=query.getall("state", []),
                id_prefix=query.get("idPrefix", ""),
                bodies=bodies == "1",
            )
        except ValueError as error:
            return problem(400, "bad_query", str(error))
        except ExecutorUnavailableError as error:
            return problem(503, error.code, error.message)
        except CommandRefusedError as error:
            return problem(502, error.code, error.message)
        scope = request[IDENTITY].view
        page.workflows = [item for item in page.workflows if scope.covers(item.workflow_id)]
        return json_answer(page)


def metrics_application(metrics: Metrics) -> web.Application:
    """The application that serves `/metrics`."""

    async def scrape(request: web.Request) -> web.Response:
        del request
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/metrics", scrape)
    return application
