"""Artifacts over HTTP: whole or visibly broken, in bounded memory, and never a page of the bridge's own."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import aiohttp
import pytest
from google.rpc import code_pb2

from tests.support.bridge import eventually, running_bridge
from tests.support.scripted_executor import running_executor
from weftline_bridge.app import artifacts

URI = "weftline:019/5feceb66"
PIECE = b"x" * 65_536
SCRIPT = b"<script>alert(document.domain)</script>"


@pytest.mark.parametrize("path", [URI, quote(URI, safe="")], ids=["as it is", "quoted"])
async def test_an_artifact_arrives_whole_and_in_order(path: str) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        pieces = [bytes([number]) * 65_536 for number in range(100)]
        executor.artifacts[URI] = [*pieces, b"end"]
        async with bridge.http.get(bridge.url + "/api/artifacts/" + path) as response:
            assert response.status == 200
            assert await response.read() == b"".join(pieces) + b"end"


async def test_what_a_node_gave_is_never_shown_as_a_page() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.artifacts[URI] = [SCRIPT]
        accepted = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        async with bridge.http.get(bridge.url + "/api/artifacts/" + URI, headers={"Accept": accepted}) as response:
            assert await response.read() == SCRIPT
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Content-Disposition"] == "attachment"
            assert "sandbox" in response.headers["Content-Security-Policy"]
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_json_is_given_to_who_asks_for_it() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.artifacts[URI] = [b'{"rows":', b"[1,2]}"]
        headers = {"Accept": "text/plain;q=0.5, Application/JSON;q=0.9"}
        async with bridge.http.get(bridge.url + "/api/artifacts/" + URI, headers=headers) as response:
            assert response.headers["Content-Type"] == "application/json"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert await response.json() == {"rows": [1, 2]}


async def test_an_empty_artifact_is_an_empty_answer() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.artifacts[URI] = []
        async with bridge.http.get(bridge.url + "/api/artifacts/" + URI) as response:
            assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (code_pb2.NOT_FOUND, "unknown_artifact", 404),
        (code_pb2.INVALID_ARGUMENT, "invalid_argument", 404),
        (code_pb2.UNIMPLEMENTED, "unsupported", 502),
        (code_pb2.UNAVAILABLE, "store_unavailable", 503),
    ],
)
async def test_what_can_not_be_had_has_a_status_and_a_name(code: int, reason: str, status: int) -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.refuse("ReadArtifact", code, reason, "there is none")
        async with bridge.http.get(bridge.url + "/api/artifacts/" + URI) as response:
            assert response.status == status
            expected = "executor_unavailable" if status == 503 else reason
            assert (await response.json())["code"] == expected


async def test_a_name_that_is_too_long_is_not_passed_on() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        async with bridge.http.get(bridge.url + "/api/artifacts/" + "x" * 513) as response:
            assert (response.status, (await response.json())["code"]) == (404, "unknown_artifact")
        assert executor.calls["ReadArtifact"] == 0


async def test_an_answer_that_breaks_off_can_not_be_taken_for_a_whole_one() -> None:
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.artifacts[URI] = [PIECE, None]
        with pytest.raises(aiohttp.ClientError):
            async with bridge.http.get(bridge.url + "/api/artifacts/" + URI) as response:
                await response.read()


async def test_a_reader_that_takes_nothing_holds_a_bounded_part_and_is_let_go() -> None:
    async with running_executor() as executor, running_bridge(executor, stall_seconds=0.5) as bridge:
        executor.artifacts[URI] = [PIECE] * 4_000
        host, port = bridge.bridge.address
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(f"GET /api/artifacts/{URI} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await eventually(lambda: executor.pieces)
        served = bridge.bridge.artifacts
        await eventually(lambda: served.readers == 0)
        assert executor.pieces < 1_000
        writer.close()
        assert not reader.at_eof()


async def test_one_reader_too_many_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "MAX_READERS", 1)
    async with running_executor() as executor, running_bridge(executor) as bridge:
        executor.artifacts[URI] = [PIECE] * 1_000
        url = bridge.url + "/api/artifacts/" + URI
        async with bridge.http.get(url), bridge.http.get(url) as second:
            assert (second.status, second.headers["Retry-After"]) == (503, "1")
            assert (await second.json())["code"] == "overloaded"
        await eventually(lambda: bridge.bridge.artifacts.readers == 0)
        executor.artifacts[URI] = [b"small"]
        async with bridge.http.get(url) as third:
            assert await third.read() == b"small"
