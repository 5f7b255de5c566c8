"""The node that asks a web server."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from pydantic import Field
from yarl import URL

from weftline_executor.nodes.builtin import web
from weftline_executor.nodes.builtin.fence import HttpFence
from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import NodeFunction, node
from weftline_executor.nodes.errors import NodeFailed
from weftline_executor.nodes.values import text

if TYPE_CHECKING:
    import aiohttp

MAX_BODY = 1024 * 1024
MAX_REDIRECTS = 5

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_ERRORS = {
    "http_failed": "no answer could be had, or the server redirected too often",
    "http_bad_body": "the body says that it is JSON, and is not",
}
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

Address = Annotated[web.WebAddress, Field(description="What is asked, from `http://` or `https://`.")]
Body = Annotated[object, Field(description="Text is sent as it is, any other value as JSON, null not at all.")]
Timeout = Annotated[float, Field(gt=0, le=3600, description="Seconds for the whole exchange, with its redirects.")]


def http_request_within(fence: HttpFence) -> NodeFunction[..., object]:
    """Give the node type `http.request`, which reaches only what the fence admits."""

    @node("http.request", title="HTTP request", idempotency="keyed", errors={**web.ERRORS, **_ERRORS})
    async def http_request(
        ctx: Context,
        *,
        url: Address,
        method: Annotated[Method, Field(description="What is done there.")] = "GET",
        query: Annotated[Mapping[str, Text], Field(description="Parameters that are added to the address.")] = {},
        headers: Annotated[Mapping[str, Text], Field(description="Headers of the request.")] = {},
        body: Body = None,
        timeout: Timeout = 30.0,  # noqa: ASYNC109 - it is a setting of the node, and aiohttp keeps it
    ) -> dict[str, object]:
        """Asks a web server, and fails when it does not answer in `timeout` seconds or answers with a status from 400.

        A request that changes something carries an `Idempotency-Key`, the same at each attempt after a crash. The
        output is `{status, headers, body, durationMs}`, with the body parsed if it is JSON and without cookies. Up to
        5 redirects are followed, and a body may have 1 MiB. Addresses that are not public are refused unless the
        executor allows them.
        """
        target = URL(url).update_query(dict(query))
        sent_headers, payload = _outgoing(ctx, method, headers, body)
        started = asyncio.get_running_loop().time()
        async with web.exchange(
            fence,
            method,
            target,
            headers=sent_headers,
            payload=payload,
            seconds=timeout,
            max_redirects=MAX_REDIRECTS,
        ) as response:
            content = await web.read(response, MAX_BODY)
        duration = asyncio.get_running_loop().time() - started
        return _outcome(response, content, round(duration * 1000))

    return http_request


def _outgoing(
    ctx: Context, method: Method, headers: Mapping[str, str], body: object
) -> tuple[dict[str, str], bytes | None]:
    given = {name.lower() for name in headers}
    sent = dict(headers)
    if method not in _READING and "idempotency-key" not in given:
        sent["Idempotency-Key"] = ctx.idempotency_key
    if ctx.traceparent and "traceparent" not in given:
        sent["traceparent"] = ctx.traceparent
    if body is None:
        return sent, None
    if "content-type" not in given:
        sent["Content-Type"] = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    return sent, text(body).encode()


def _outcome(response: "aiohttp.ClientResponse", content: bytes, duration_ms: int) -> dict[str, object]:
    if response.status >= web.FIRST_ERROR:
        raise web.status_failure(response, content)
    # A cookie is as good as a password, and the output of a node is shown to everyone who watches.
    names = {name.lower() for name in response.headers} - {"set-cookie"}
    return {
        "status": response.status,
        "headers": {name: ", ".join(response.headers.getall(name)) for name in sorted(names)},
        "body": _body(response, content),
        "durationMs": duration_ms,
    }


def _body(response: "aiohttp.ClientResponse", content: bytes) -> object:
    if not content:
        return None
    if response.content_type == "application/json" or response.content_type.endswith("+json"):
        try:
            return msgspec.json.decode(content)
        except ValueError as error:
            message = f"{web.shown(response.url)} answered with JSON that is not valid: {error}"
            raise NodeFailed(message, "http_bad_body") from None
    return web.text_of(response, content)
