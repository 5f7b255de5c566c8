"""How a connection begins: who may connect, in which dialect, and what comes first."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from tests.support import events
from tests.support.bridge import PATIENCE, running_bridge
from tests.support.scripted_executor import running_executor
from tests.support.tokens import SECRET, bearer, token
from weftline_bridge.auth import Identity
from weftline_bridge.frames import Dialect
from weftline_bridge.session.admission import Admission

KNOCK = b"\r\n".join(
    (
        b"GET / HTTP/1.1",
        b"Host: localhost",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        b"Sec-WebSocket-Protocol: weftline.v1",
        b"",
        b"",
    )
)


async def test_a_v1_client_gets_arrays_with_connection_ready_and_then_the_status() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect()
        ready, status = await client.next(), await client.next()
        assert client.frames[0].startswith("[")
        assert ready["type"] == "connection.ready"
        assert ready["payload"]["heartbeatInterval"] == 25_000
        assert ready["payload"]["heartbeatTimeout"] == 8_000
        assert ready["payload"]["maxMessageBytes"] == 4 * 1024 * 1024
        assert (status["type"], status["payload"]["executor"]) == ("system.status", "connected")
        assert client.ws.protocol == "weftline.v1"


async def test_a_plain_client_gets_one_object_a_frame_and_only_types_of_the_original_design() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect("plain")
        await bridge.eventually(lambda: bridge.bridge.hub.watches_all)
        executor.append("wf", events.start("a"), events.running("a"), events.success("a"), events.complete())
        await client.of_type("execution.complete")
        assert all(frame.startswith("{") for frame in client.frames)
        assert client.seen[0]["type"] == "system.status"
        assert client.ws.protocol is None


async def test_an_unknown_subprotocol_is_closed_with_4406() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        client = await bridge.connect("chat.v2")
        assert await client.close_code() == 4406


async def test_one_connection_too_many_is_closed_with_1013() -> None:
    async with running_executor() as executor, running_bridge(executor, max_connections=1) as bridge:
        first = await bridge.connect()
        await first.next()
        second = await bridge.connect()
        assert await second.close_code() == 1013
        await first.ws.close()
        await bridge.eventually(lambda: len(bridge.bridge.registry) == 0)
        third = await bridge.connect()
        assert (await third.next())["type"] == "connection.ready"


@pytest.mark.parametrize(
    ("origin", "allowed_origins", "outcome"),
    [
        (None, "", 101),
        ("same", "", 101),
        ("http://evil.example", "", 4403),
        ("https://console.example", "https://console.example, http://other.example", 101),
        ("https://console.example:8443", "https://console.example", 4403),
        ("http://evil.example", "*", 101),
        ("null", "", 4403),
    ],
)
async def test_pages_may_connect_from_the_same_or_a_listed_origin(
    origin: str | None, allowed_origins: str, outcome: int
) -> None:
    async with running_executor() as executor, running_bridge(executor, allowed_origins=allowed_origins) as bridge:
        headers = {} if origin is None else {"Origin": bridge.url if origin == "same" else origin}
        client = await bridge.connect(headers=headers)
        if outcome == 101:
            assert (await client.next())["type"] == "connection.ready"
        else:
            assert await client.close_code() == outcome
            assert client.seen == []


@pytest.mark.parametrize("settings", [{}, {"max_connections": 1}], ids=["let_in", "turned_away"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "noticed_by_the_answer"])
async def test_a_client_that_goes_away_before_it_is_let_in_is_no_error(
    known: bool, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = asyncio.Event()
    admit = Admission.admit

    async def when_it_has_gone(self: Admission, request: web.Request, dialect: Dialect) -> Identity | None:
        assert request.transport is not None
        request.transport.abort()
        while known and request.transport is not None:
            await asyncio.sleep(0)
        gone.set()
        return await admit(self, request, dialect)

    async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
        if settings:
            await (await bridge.connect()).next()
        connections = len(bridge.bridge.registry)
        monkeypatch.setattr(Admission, "admit", when_it_has_gone)
        _, writer = await asyncio.open_connection(*bridge.bridge.address)
        writer.write(KNOCK)
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
        writer.close()
        monkeypatch.undo()
        assert (await (await bridge.connect()).ws.receive()).type is aiohttp.WSMsgType.TEXT
        assert len(bridge.bridge.registry) == connections + (not settings)
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("path", ["/", "/api/workflows", "/api/connections", "/healthz"])
async def test_a_foreign_page_can_not_reach_a_local_bridge_by_a_name_of_its_own(path: str) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        port = bridge.bridge.address[1]
        for host, status in ((f"evil.example:{port}", 403), (f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200)):
            async with bridge.http.get(bridge.url + path, headers={"Host": host}) as response:
                assert response.status == status
        rebound = {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await bridge.connect(headers=rebound)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("headers", "allowed_origins", "status"),
    [
        ({"Origin": "http://evil.example"}, "", 403),
        ({"Origin": "null"}, "", 403),
        ({"Origin": "http://localhost:5173"}, "", 200),
        ({"Origin": "https://console.example", "Sec-Fetch-Site": "cross-site"}, "https://console.example", 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "", 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, "", 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, "", 200),
        ({"Origin": "http://evil.example"}, "*", 200),
        ({}, "", 200),
    ],
)
async def test_a_foreign_page_can_not_have_the_api_do_work(
    headers: dict[str, str], allowed_origins: str, status: int
) -> None:
    async with running_executor() as executor, running_bridge(executor, allowed_origins=allowed_origins) as bridge:
        async with bridge.http.get(f"{bridge.url}/api/workflows", headers=headers) as response:
            assert response.status == status
            if status == 403:
                assert (await response.json())["code"] == "foreign_origin"
        assert executor.calls["ListWorkflows"] == (status == 200)


async def test_nothing_can_be_changed_over_http() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        routes = [route for runner in bridge.bridge._runners for route in runner.app.router.routes()]
        assert len(routes) > 8
        assert {route.method for route in routes} == {"GET", "HEAD"}
        for path in ("/", "/api/workflows", "/api/connections"):
            async with bridge.http.post(bridge.url + path, json={}) as response:
                assert response.status == 405


async def test_a_bridge_behind_a_local_proxy_is_reached_by_the_names_of_its_origins() -> None:
    async with running_executor() as executor:
        async with running_bridge(executor, allowed_origins="https://weft.example") as bridge:
            client = await bridge.connect(headers={"Host": "weft.example", "Origin": "https://weft.example"})
            assert (await client.next())["type"] == "connection.ready"
        async with running_bridge(executor, auth_secret=SECRET) as bridge:
            client = await bridge.connect(headers={"Host": "any.example", **bearer(token())})
            assert (await client.next())["type"] == "connection.ready"
