"""What nodes that ask web servers share: one exchange inside the fence, and what its failures mean."""

import asyncio
import importlib
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator
from yarl import URL

from weftline_executor.nodes.builtin.fence import FenceGuard, HttpFence, OutsideFence
from weftline_executor.nodes.errors import NodeFailed

if TYPE_CHECKING:
    import aiohttp

FIRST_ERROR = 400
"""The least status that says that a request failed."""

ERRORS = {
    "http_status": "the status was 400 or more; one of 408, 425, 429, or from 500 may be retried",
    "http_timeout": "there was no answer in time",
    "http_forbidden": "the address is outside of what the executor allows",
    "http_too_large": "the answer was too large",
}
"""When `exchange` and what belongs to it fail, by code; the code for no answer is that of the node."""

_MAX_SHOWN = 2048
_FIRST_SERVER_ERROR = 500
_PASSING = frozenset({408, 425, 429})
_MAX_RETRY_AFTER = 86_400.0
_client_is_there = threading.Event()


def _web_address(value: str) -> str:
    try:
        url = URL(value)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("should be an address that begins with http:// or https://")
    return value


WebAddress = Annotated[str, AfterValidator(_web_address)]


@asynccontextmanager
async def exchange(
    fence: HttpFence,
    method: str,
    target: URL,
    *,
    headers: Mapping[str, str],
    payload: bytes | None,
    seconds: float,
    max_redirects: int = 0,
    failed: str = "http_failed",
) -> AsyncIterator["aiohttp.ClientResponse"]:
    """Send a request and give its answer, whose body the block reads; leaving the block hangs up.

    Raises `NodeFailed` with the code `http_timeout` when block and request take longer than `seconds` together,
    `http_forbidden` when the fence refuses, and `failed` when no answer can be had or its body breaks off.
    """
    await _have_client()
    import aiohttp  # noqa: PLC0415 - see _have_client

    guard = FenceGuard(fence)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(socket_factory=guard.make_socket, force_close=True),
                middlewares=(guard.check_host,),
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as session,
            session.request(
                method,
                target,
                headers=headers,
                data=payload,
                allow_redirects=max_redirects > 0,
                # The limit of aiohttp counts the redirect that it no longer follows.
                max_redirects=max_redirects + 1,
            ) as response,
        ):
            yield response
    except TimeoutError:
        raise NodeFailed(f"{shown(target)} did not answer within {seconds:g} s", "http_timeout") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _failure(target, error, max_redirects, failed) from error


async def _have_client() -> None:
    """Import aiohttp when it is first needed: it takes 8 MiB, and most executors never ask a web server.

    That takes a while, in which other nodes in this event loop are to go on.
    """
    if not _client_is_there.is_set():
        await asyncio.to_thread(importlib.import_module, "aiohttp")
        _client_is_there.set()


async def chunks(response: "aiohttp.ClientResponse", limit: int) -> AsyncIterator[bytes]:
    """Give the body of an answer as it comes; raises `NodeFailed` (`http_too_large`) at more than `limit` bytes."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise NodeFailed(f"{shown(response.url)} answered with more than {limit} bytes", "http_too_large")
        yield chunk


async def read(response: "aiohttp.ClientResponse", limit: int) -> bytes:
    """Give the whole body of an answer; raises `NodeFailed` (`http_too_large`) at more than `limit` bytes."""
    return b"".join([chunk async for chunk in chunks(response, limit)])


def text_of(response: "aiohttp.ClientResponse", content: bytes) -> str:
    """Give a body as text, in the charset that the answer names, or UTF-8."""
    try:
        return content.decode(response.charset or "utf-8", errors="replace")
    except LookupError:
        return content.decode("utf-8", errors="replace")


def status_failure(response: "aiohttp.ClientResponse", content: bytes, why: str = "") -> NodeFailed:
    """Give the error for an answer with a status from 400 (`http_status`), with `why` at its end.

    Only statuses of servers in trouble and of requests that come too early or too often are worth another try, and
    that not before the time that `Retry-After` names.
    """
    details: dict[str, object] = {"status": response.status, "body": text_of(response, content)[:_MAX_SHOWN]}
    if "Retry-After" in response.headers:
        details["retryAfter"] = response.headers["Retry-After"]
    reason = f" {response.reason}" if response.reason else ""
    return NodeFailed(
        f"{shown(response.url)} answered {response.status}{reason}{why}",
        "http_status",
        details,
        retryable=response.status >= _FIRST_SERVER_ERROR or response.status in _PASSING,
        retry_after=_retry_after(response.headers.get("Retry-After", "")),
    )


def shown(url: URL) -> str:
    """Give an address for a message, without its query and user name, which may hold what must not be in a log."""
    return str(url.with_query(None).with_fragment(None).with_user(None))


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


def _failure(target: URL, error: Exception, max_redirects: int, failed: str) -> NodeFailed:
    import aiohttp  # noqa: PLC0415 - see _have_client

    # What stops a request on its way is wrapped by aiohttp.
    for cause in (error, error.__cause__, getattr(error, "os_error", None)):
        if isinstance(cause, OutsideFence):
            return NodeFailed(f"{shown(target)} may not be asked: {cause}", "http_forbidden", retryable=False)
    if isinstance(error, aiohttp.TooManyRedirects):
        return NodeFailed(f"{shown(target)} redirects more than {max_redirects} times", failed)
    # The whole text of this one holds the address with its query.
    reason = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return NodeFailed(f"{shown(target)} could not be asked: {reason or type(error).__name__}", failed)
