"""Serves the metrics of all workers and of the supervisor as one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from weftline_bridge.errors import ListenError
from weftline_bridge.settings import ENV_PREFIX, split_address


class Scraping:
    """A server for `/metrics`, whose text `scrape` gives."""

    def __init__(self, scrape: Callable[[], Awaitable[bytes]]) -> None:
        self._scrape = scrape
        application = web.Application()
        application.router.add_get("/metrics", self._serve)
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)

    async def start(self, address: str, setting: str) -> str:
        """Listen; the host and port that are really listened on. Raises ListenError."""
        host, port = split_address(address)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise ListenError(ENV_PREFIX + setting, address, error.strerror or str(error)) from error
        bound = self._runner.addresses[0]
        return f"{bound[0]}:{bound[1]}"

    async def stop(self) -> None:
        """End all requests and listen no more."""
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        del request
        return web.Response(body=await self._scrape(), headers={"Content-Type": CONTENT_TYPE_LATEST})
