"""The node that asks a web server."""

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal

import aiohttp
import msgspec
from pydantic import AfterValidator, Field
from yarl import URL

from weftline_executor.nodes.builtin.fence import FenceGuard, HttpFence, OutsideFence
from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import NodeFunction, node
from weftline_executor.nodes.errors import NodeFailed
from weftline_executor.nodes.values import text

MAX_BODY = 1024 * 1024
MAX_REDIRECTS = 5

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_MAX_SHOWN = 2048
_CHUNK = 64 * 1024
_FIRST_ERROR = 400
_FIRST_SERVER_ERROR = 500
_PASSING = frozenset({408, 425, 429})
_MAX_RETRY_AFTER = 86_400.0
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def _web_address(value: str) -> str:
    try:
        url = URL(value)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("should be an address that begins with http:// or https://")
    return value


WebAddress = Annotated[
    str, AfterValidator(_web_address), Field(description="What is asked, from `http://` or `https://`.")
]
Body = Annotated[object, Field(description="Text is sent as it is, any other value as JSON, null not at all.")]
Timeout = Annotated[float, Field(gt=0, le=3600, description="Seconds for the whole exchange, with its redirects.")]


def http_request_within(fence: HttpFence) -> NodeFunction[..., object]:
    """Give the node type `http.request`, which reaches only what the fence admits."""

    @node("http.request", title="HTTP request", idempotency="keyed")
    async def http_request(
        ctx: Context,
        *,
        url: WebAddress,
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

        The codes of its errors are `http_status`, `http_timeout`, `http_failed` (no answer could be had),
        `http_forbidden` (outside of what the executor allows), `http_too_large` and `http_bad_body`.
        """
        target = URL(url).update_query(dict(query))
        sent_headers, payload = _outgoing(ctx, method, headers, body)
        started = asyncio.get_running_loop().time()
        try:
            response, content = await _ask(fence, method, target, sent_headers, payload, timeout)
        except TimeoutError:
            raise NodeFailed(f"{_shown(target)} did not answer within {timeout:g} s", "http_timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(target, error) from error
        duration = asyncio.get_running_loop().time() - started
        return _outcome(response, content, round(duration * 1000))

    return http_request


async def _ask(
    fence: HttpFence, method: Method, target: URL, headers: Mapping[str, str], payload: bytes | None, seconds: float
) -> tuple[aiohttp.ClientResponse, bytes]:
    guard = FenceGuard(fence)
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=guard.make_socket, force_close=True),
            middlewares=(guard.check_host,),
            timeout=aiohttp.ClientTimeout(total=seconds),
        ) as session,
        # The limit of aiohttp counts the redirect that it no longer follows.
        session.request(method, target, headers=headers, data=payload, max_redirects=MAX_REDIRECTS + 1) as response,
    ):
        return response, await _read(response)


def _outgoing(
    ctx: Context, method: Method, headers: Mapping[str, str], body: object
) -> tuple[dict[str, str], bytes | None]:
    given = {name.lower() for name in headers}
    sent = dict(headers)
    if method not in _READING and "idempotency-key" not in given:
        sent["Idempotency-Key"] = ctx.idempotency_key
    if body is None:
        return sent, None
    if "content-type" not in given:
        sent["Content-Type"] = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    return sent, text(body).encode()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        content += chunk
        if len(content) > MAX_BODY:
            raise NodeFailed(f"{_shown(response.url)} answered with more than {MAX_BODY} bytes", "http_too_large")
    return bytes(content)


def _outcome(response: aiohttp.ClientResponse, content: bytes, duration_ms: int) -> dict[str, object]:
    if response.status >= _FIRST_ERROR:
        details: dict[str, object] = {"status": response.status, "body": _text(response, content)[:_MAX_SHOWN]}
        if "Retry-After" in response.headers:
            details["retryAfter"] = response.headers["Retry-After"]
        reason = f" {response.reason}" if response.reason else ""
        raise NodeFailed(
            f"{_shown(response.url)} answered {response.status}{reason}",
            "http_status",
            details,
            retryable=response.status >= _FIRST_SERVER_ERROR or response.status in _PASSING,
            retry_after=_retry_after(response.headers.get("Retry-After", "")),
        )
    # A cookie is as good as a password, and the output of a node is shown to everyone who watches.
    shown = {name.lower() for name in response.headers} - {"set-cookie"}
    return {
        "status": response.status,
        "headers": {name: ", ".join(response.headers.getall(name)) for name in sorted(shown)},
        "body": _body(response, content),
        "durationMs": duration_ms,
    }


def _retry_after(value: str) -> float | None:
    """The seconds that a Retry-After header asks for, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    if value.isascii() and value.isdigit():
        return min(float(value), _MAX_RETRY_AFTER)
    try:
        due = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    seconds = due.timestamp() - time.time()
    return min(max(0.0, seconds), _MAX_RETRY_AFTER)


def _body(response: aiohttp.ClientResponse, content: bytes) -> object:
    if not content:
        return None
    if response.content_type == "application/json" or response.content_type.endswith("+json"):
        try:
            return msgspec.json.decode(content)
        except ValueError as error:
            message = f"{_shown(response.url)} answered with JSON that is not valid: {error}"
            raise NodeFailed(message, "http_bad_body") from None
    return _text(response, content)


def _text(response: aiohttp.ClientResponse, content: bytes) -> str:
    try:
        return content.decode(response.charset or "utf-8", errors="replace")
    except LookupError:
        return content.decode("utf-8", errors="replace")


def _failure(target: URL, error: Exception) -> NodeFailed:
    # What stops a request on its way is wrapped by aiohttp.
    for cause in (error, error.__cause__, getattr(error, "os_error", None)):
        if isinstance(cause, OutsideFence):
            return NodeFailed(f"{_shown(target)} may not be asked: {cause}", "http_forbidden", retryable=False)
    if isinstance(error, aiohttp.TooManyRedirects):
        return NodeFailed(f"{_shown(target)} redirects more than {MAX_REDIRECTS} times", "http_failed")
    # The whole text of this one holds the address with its query.
    reason = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return NodeFailed(f"{_shown(target)} could not be asked: {reason or type(error).__name__}", "http_failed")


def _shown(url: URL) -> str:
    # Queries and user names may hold what must not be in a log.
    return str(url.with_query(None).with_fragment(None).with_user(None))
