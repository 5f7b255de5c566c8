"""Starts the parts in order, serves until a signal comes, and ends them in reverse order within a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import Sequence
from uuid import uuid4

from aiohttp import web

from weftline_bridge import __version__
from weftline_bridge.app.artifacts import Artifacts
from weftline_bridge.app.desk import Desk
from weftline_bridge.app.files import allow_files
from weftline_bridge.app.siblings import Siblings
from weftline_bridge.app.web import Pages, metrics_application
from weftline_bridge.errors import ListenError
from weftline_bridge.history import RingLimits
from weftline_bridge.hub import Hub, HubOptions
from weftline_bridge.metrics import Metrics
from weftline_bridge.protocol.minting import Mint
from weftline_bridge.recorder import RecorderLimits
from weftline_bridge.session import Endpoint, Gatekeeper, Registry
from weftline_bridge.settings import ENV_PREFIX, Settings, is_loopback, split_address
from weftline_bridge.tracing import Tracer
from weftline_bridge.upstream import ExecutorClient, TlsFiles
from weftline_bridge.workers.exposition import collect
from weftline_bridge.workers.messages import Post

_log = logging.getLogger(__name__)

_BACKLOG = 4096
_END_SECONDS = 5.0
_TRACING_SECONDS = 2.0
"""How long the end waits for spans to be sent, within `_END_SECONDS`."""


class Bridge:
    """The whole bridge in one object; `start` and `stop` are called once each.

    `address` and `metrics_address` are the (host, port) pairs that are really listened on. With a `post` it is one of
    several workers: its clients come by sockets that it inherits, and its supervisor tells its metrics.
    """

    def __init__(self, settings: Settings, tracer: Tracer | None = None, post: Post | None = None) -> None:
        self._settings = settings
        self.siblings = Siblings(post)
        self._tracer = tracer
        self._runners: list[web.AppRunner] = []
        self.address = self.metrics_address = ("", 0)
        identity = uuid4().hex[:12]
        mint = Mint(identity, _now_ms)
        self.metrics = Metrics(__version__)
        self.gatekeeper = Gatekeeper(settings, self.metrics)
        self._tls = TlsFiles.of(settings)
        self.client = ExecutorClient(
            settings.executor,
            channels=settings.channels,
            timeout=settings.command_timeout,
            mint=mint,
            metrics=self.metrics,
            tls=self._tls,
        )
        ring = RingLimits(settings.ring_max_events, settings.ring_max_bytes, settings.ring_max_age)
        recorder = RecorderLimits(settings.recorder, int(settings.recorder_keep_seconds * 1000))
        options = HubOptions(ring, settings.linger_seconds, min(1.0, settings.linger_seconds / 4 + 0.05), recorder)
        self.hub = Hub(self.client, mint, self.metrics, options, identity=identity)
        self.registry = Registry(
            self.hub,
            mint,
            self.metrics,
            version=__version__,
            interval=settings.heartbeat_interval,
            patience=settings.heartbeat_timeout,
            status_interval=settings.status_interval,
            gatekeeper=self.gatekeeper,
            auth_timeout=settings.auth_timeout,
            auth_grace=settings.auth_grace,
        )
        self.artifacts = Artifacts(self.client, stall_seconds=settings.stall_seconds)
        self._endpoint = Endpoint(
            settings,
            hub=self.hub,
            client=self.client,
            registry=self.registry,
            mint=mint,
            metrics=self.metrics,
            gatekeeper=self.gatekeeper,
            version=__version__,
            tracer=tracer,
        )
        self.desk = Desk(self.hub, self.registry, self.metrics, self.siblings.number)

    async def start(self) -> None:
        """Listen and begin to watch; raises ListenError when an address can't be bound."""
        settings = self._settings
        keys = self.gatekeeper.keys
        if keys is not None:
            await keys.refresh()
        try:
            if self.siblings.post is None:
                metrics = metrics_application(self.metrics)
                self.metrics_address = await self._listen(metrics, settings.metrics_listen, "METRICS_LISTEN")
                self.address = await self._listen(self._pages(), settings.listen, "LISTEN")
            else:
                self.metrics_address = split_address(self.siblings.post.metrics)
                self.address = await self._accept(self._pages(), self.siblings.listeners())
        except ListenError:
            await self.stop()
            raise
        self.hub.start()
        self.registry.start()
        if self._tls is not None:
            self.hub.tasks.repeat(self.client.renew, "tls-files", settings.tls_refresh)
        if keys is not None:
            self.hub.tasks.repeat(keys.refresh, "token-keys-refresh", settings.auth_jwks_refresh)
        if settings.allow_anonymous and self.siblings.number <= 1 and not is_loopback(self.address[0]):
            _log.warning("listening on %s: anyone who can reach it can watch and control workflows", self.address[0])

    async def stop(self) -> None:
        """Close all connections, giving their clients `drain_seconds`, and end everything."""
        await self.registry.drain(self._settings.drain_seconds)
        for runner in self._runners:
            await runner.cleanup()
        await self.hub.close()
        if self.gatekeeper.keys is not None:
            await self.gatekeeper.keys.close()
        await self.client.close()
        if self._tracer is not None:
            await self._tracer.close(_TRACING_SECONDS)

    def _pages(self) -> web.Application:
        pages = Pages(
            endpoint=self._endpoint,
            desk=self.desk,
            siblings=self.siblings,
            client=self.client,
            artifacts=self.artifacts,
            gatekeeper=self.gatekeeper,
            version=__version__,
            metrics_at="{}:{}".format(*self.metrics_address),
        )
        return pages.application()

    async def _accept(self, application: web.Application, listeners: Sequence[socket.socket]) -> tuple[str, int]:
        """Serve those who come by sockets that listen already."""
        runner = await self._runner(application)
        for listener in listeners:
            await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        return _address(runner)

    async def _listen(self, application: web.Application, address: str, setting: str) -> tuple[str, int]:
        host, port = split_address(address)
        runner = await self._runner(application)
        try:
            await web.TCPSite(runner, host, port, backlog=_BACKLOG).start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise ListenError(ENV_PREFIX + setting, address, reason) from error
        return _address(runner)

    async def _runner(self, application: web.Application) -> web.AppRunner:
        runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        return runner


async def run(settings: Settings, tracer: Tracer | None = None, post: Post | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `tracer` takes the commands of clients.

    A worker, which has a `post`, serves no longer than its supervisor.

    Raises ConfigurationError or ListenError when it can't start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    allow_files(settings.max_connections)
    bridge = Bridge(settings, tracer, post)
    await bridge.start()
    supervised: asyncio.Task[None] | None = None
    if post is None:
        _log.info(
            "weftline-bridge %s: listening on ws://%s:%d, metrics on http://%s:%d/metrics, executor at %s",
            __version__,
            *bridge.address,
            *bridge.metrics_address,
            settings.executor,
        )
    else:
        supervised = asyncio.create_task(bridge.siblings.join(post.control, bridge.desk.answer), name="supervisor")
        supervised.add_done_callback(lambda _: stop.set())
    # What lives from the start on is never garbage; looking at it again and again would only cost pauses.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    await stop.wait()
    _log.info("ending: %d connections are being closed", len(bridge.registry))
    # The kernel ends the process then, whatever hangs in it.
    signal.setitimer(signal.ITIMER_REAL, settings.drain_seconds + _END_SECONDS)
    with contextlib.suppress(asyncio.CancelledError):
        await bridge.stop()
    if supervised is not None:
        await bridge.siblings.leave(collect(bridge.metrics.registry))
        supervised.cancel()
        await asyncio.gather(supervised, return_exceptions=True)
    _log.info("ended")


def _address(runner: web.AppRunner) -> tuple[str, int]:
    bound = runner.addresses[0]
    return str(bound[0]), int(bound[1])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
