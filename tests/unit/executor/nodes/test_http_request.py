"""Facts about `http.request`, each asked of a real server on a port of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from weftline_executor.nodes import HttpFence, NodeFailed, Registry, Scope
from weftline_executor.nodes.builtin.http import MAX_BODY
from weftline_executor.nodes.testing import RecordingSink, make_context

OPEN = HttpFence(allow_private=True)
ASKED = web.AppKey("asked", asyncio.Event)
GONE = web.AppKey("gone", asyncio.Event)
DEADLINE = 10


async def ask(data: dict[str, object], fence: HttpFence = OPEN) -> dict[str, object]:
    """Check, bind and call a node, and give its output."""
    node_type = Registry.with_builtins(fence).get("http.request")
    assert node_type is not None
    assert node_type.check(data) == []
    prepared = node_type.prepare(data)
    result = prepared.call(make_context(RecordingSink(), idempotency_key="k-1"), prepared.bind(Scope()), {})
    assert asyncio.iscoroutine(result)
    output = await result
    assert isinstance(output, dict)
    return output


async def failure(data: dict[str, object], fence: HttpFence = OPEN) -> NodeFailed:
    with pytest.raises(NodeFailed) as caught:
        await ask(data, fence)
    return caught.value


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "query": dict(request.query),
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": await request.text(),
        }
    )


async def hop(request: web.Request) -> web.Response:
    left = int(request.match_info["left"])
    raise web.HTTPFound(f"/hop/{left - 1}" if left else "/text")


async def plain(request: web.Request) -> web.Response:
    return web.Response(text="grüß", charset="latin-1", headers={"X-One": "1", "Set-Cookie": "session=secret"})


async def silent(request: web.Request) -> web.Response:
    request.app[ASKED].set()
    try:
        await asyncio.Event().wait()
    finally:
        request.app[GONE].set()
    return web.Response()


async def sized(request: web.Request) -> web.Response:
    return web.Response(body=b"x" * int(request.match_info["size"]))


async def status(request: web.Request) -> web.Response:
    code = int(request.match_info["code"])
    return web.Response(status=code, text="y" * 5000, headers={"Retry-After": "7"})


async def broken_json(request: web.Request) -> web.Response:
    return web.Response(text="{", content_type="application/problem+json")


async def empty(request: web.Request) -> web.Response:
    return web.Response(status=204)


async def to_private(request: web.Request) -> web.Response:
    raise web.HTTPFound(f"http://127.0.0.1:{request.url.port}/text")


@pytest.fixture
async def app() -> web.Application:
    app = web.Application()
    app[ASKED] = asyncio.Event()
    app[GONE] = asyncio.Event()
    app.router.add_route("*", "/echo", echo)
    app.router.add_get("/hop/{left}", hop)
    app.router.add_get("/text", plain)
    app.router.add_get("/silent", silent)
    app.router.add_get("/sized/{size}", sized)
    app.router.add_get("/status/{code}", status)
    app.router.add_get("/broken", broken_json)
    app.router.add_get("/empty", empty)
    app.router.add_get("/to-private", to_private)
    return app


@pytest.fixture
async def server(app: web.Application) -> AsyncIterator[TestServer]:
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield server
    await server.close()


def url(server: TestServer, path: str) -> str:
    return str(server.make_url(path))


async def test_the_output_is_what_the_server_answered(server: TestServer) -> None:
    output = await ask({"url": url(server, "/text")})
    headers = output["headers"]
    assert isinstance(headers, dict)
    assert (output["status"], output["body"], headers["x-one"]) == (200, "grüß", "1")
    assert isinstance(output["durationMs"], int)


async def test_cookies_stay_out_of_the_output(server: TestServer) -> None:
    assert "secret" not in str(await ask({"url": url(server, "/text")}))


async def test_a_get_sends_its_query_and_headers_and_no_idempotency_key(server: TestServer) -> None:
    output = await ask({"url": url(server, "/echo?a=1"), "query": {"b": 2, "c": True}, "headers": {"X-A": "5"}})
    body = output["body"]
    assert isinstance(body, dict)
    assert (body["method"], body["query"], body["body"]) == ("GET", {"a": "1", "b": "2", "c": "true"}, "")
    assert body["headers"]["x-a"] == "5"
    assert "idempotency-key" not in body["headers"]


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ({"a": [1]}, '{"a":[1]}', "application/json"),
        (0, "0", "application/json"),
        ("text", "text", "text/plain; charset=utf-8"),
    ],
)
async def test_a_post_sends_its_body_with_the_idempotency_key(
    server: TestServer, body: object, sent: str, content_type: str
) -> None:
    output = await ask({"url": url(server, "/echo"), "method": "POST", "body": body})
    got = output["body"]
    assert isinstance(got, dict)
    assert (got["method"], got["body"]) == ("POST", sent)
    assert got["headers"]["content-type"] == content_type
    assert got["headers"]["idempotency-key"] == "k-1"


async def test_headers_that_are_given_are_not_replaced(server: TestServer) -> None:
    headers = {"content-type": "text/csv", "idempotency-key": "mine"}
    output = await ask({"url": url(server, "/echo"), "method": "PUT", "body": "a,b", "headers": headers})
    got = output["body"]
    assert isinstance(got, dict)
    assert (got["headers"]["content-type"], got["headers"]["idempotency-key"]) == ("text/csv", "mine")


async def test_an_empty_body_is_null(server: TestServer) -> None:
    output = await ask({"url": url(server, "/empty")})
    assert (output["status"], output["body"]) == (204, None)


async def test_five_redirects_are_followed_and_no_more(server: TestServer) -> None:
    assert (await ask({"url": url(server, "/hop/4")}))["body"] == "grüß"
    error = await failure({"url": url(server, "/hop/5")})
    assert (error.code, "more than 5 times" in error.message) == ("http_failed", True)


@pytest.mark.parametrize("code", [400, 404, 503])
async def test_a_status_from_400_fails_with_its_details(server: TestServer, code: int) -> None:
    error = await failure({"url": url(server, f"/status/{code}"), "query": {"token": "hidden"}})
    assert error.code == "http_status"
    assert f"answered {code}" in error.message
    assert "hidden" not in error.message
    assert error.details == {"status": code, "body": "y" * 2048, "retryAfter": "7"}


async def test_a_server_that_does_not_answer_in_time_fails(server: TestServer) -> None:
    error = await failure({"url": url(server, "/silent"), "timeout": 0.05})
    assert (error.code, error.message) == ("http_timeout", f"{url(server, '/silent')} did not answer within 0.05 s")


async def test_a_body_may_have_a_mebibyte_and_no_more(server: TestServer) -> None:
    assert (await ask({"url": url(server, f"/sized/{MAX_BODY}")}))["body"] == "x" * MAX_BODY
    assert (await failure({"url": url(server, f"/sized/{MAX_BODY + 1}")})).code == "http_too_large"


async def test_json_that_is_not_json_fails(server: TestServer) -> None:
    assert (await failure({"url": url(server, "/broken")})).code == "http_bad_body"


async def test_a_server_that_is_not_there_fails() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure({"url": f"http://127.0.0.1:{unused.getsockname()[1]}/"})
    assert error.code == "http_failed"


async def test_a_header_cannot_bring_in_another(server: TestServer) -> None:
    error = await failure({"url": url(server, "/echo"), "headers": {"X-A": "1\r\nX-B: 2"}})
    assert error.code == "http_failed"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_refused_under_any_name(server: TestServer, host: str) -> None:
    error = await failure({"url": f"http://{host}:{server.port}/text"}, HttpFence())
    assert error.code == "http_forbidden"
    assert "WEFTLINE_EXECUTOR_HTTP_ALLOW_PRIVATE" in error.message


async def test_a_host_on_the_list_is_reached_wherever_it_is(server: TestServer) -> None:
    fence = HttpFence(allowed_hosts=frozenset({"localhost"}))
    assert (await ask({"url": f"http://localhost:{server.port}/text"}, fence))["status"] == 200
    error = await failure({"url": url(server, "/text")}, fence)
    assert (error.code, "WEFTLINE_EXECUTOR_HTTP_ALLOWED_HOSTS" in error.message) == ("http_forbidden", True)


async def test_a_redirect_does_not_lead_out_of_the_fence(server: TestServer) -> None:
    fence = HttpFence(allowed_hosts=frozenset({"localhost"}))
    error = await failure({"url": f"http://localhost:{server.port}/to-private"}, fence)
    assert error.code == "http_forbidden"


async def test_a_cancelled_request_hangs_up(app: web.Application, server: TestServer) -> None:
    asked = asyncio.create_task(ask({"url": url(server, "/silent")}))
    await asyncio.wait_for(app[ASKED].wait(), DEADLINE)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.wait_for(app[GONE].wait(), DEADLINE)


@pytest.mark.parametrize(
    "address", ["", "example.org", "ftp://example.org", "http://", "file:///etc/passwd", "http://["]
)
def test_only_web_addresses_are_taken(address: str) -> None:
    node_type = Registry.with_builtins().get("http.request")
    assert node_type is not None
    assert [(fault.path, fault.code) for fault in node_type.check({"url": address})] == [("url", "invalid_value")]
