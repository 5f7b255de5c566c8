"""The gRPC server: the service with health, reflection, keepalive and limits, from start to graceful stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection

from weftline.v1 import workflow_service_pb2
from weftline.v1.workflow_service_pb2_grpc import add_WorkflowServiceServicer_to_server
from weftline_executor.api.callers import NamedClients
from weftline_executor.api.credentials import Certificates
from weftline_executor.api.service import Registrar, WorkflowService
from weftline_executor.api.snapshots import Snapshots
from weftline_executor.api.tail import Tail
from weftline_executor.api.watch import Watches
from weftline_executor.engine import Engine
from weftline_executor.metrics import Metrics
from weftline_executor.nodes import Registry
from weftline_executor.settings import Settings
from weftline_executor.tracing import Tracing

SERVICE = workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name
HEALTH_INTERVAL = 0.5
FRAMING_BYTES = 1 << 20
"""What a request may hold over its definition."""


class ApiServer:
    """Serves an engine on `settings.listen`. Use: `bind()`, `await start()`, `await stop()`."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        settings: Settings,
        metrics: Metrics,
        now: Callable[[], int],
        tracing: Tracing | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._tail = Tail(engine.store.last_commit)
        engine.attach(self._tail)
        snapshots = Snapshots(engine)
        watches = Watches(engine, self._tail, snapshots, metrics, settings.heartbeat_seconds)
        service = WorkflowService(engine, snapshots, watches, list(registry), metrics, now, tracing)
        self._health = health.HealthServicer()
        self._health_task: asyncio.Task[None] | None = None
        names = settings.tls_client_names
        interceptors = [NamedClients(names)] if names else None
        self._server = grpc.aio.server(interceptors=interceptors, options=_options(settings.max_definition_bytes))
        add_WorkflowServiceServicer_to_server(service, cast("grpc.aio.Server", Registrar(self._server)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def bind(self) -> int:
        """Takes the address and gives the port.

        Raises OSError when it is taken or can't be used, and SettingInvalid for certificates that can't.
        """
        credentials = Certificates(self._settings).credentials() if self._settings.tls_cert is not None else None
        try:
            if credentials is not None:
                return self._server.add_secure_port(self._settings.listen, credentials)
            return self._server.add_insecure_port(self._settings.listen)
        except RuntimeError as error:
            raise OSError(str(error)) from error

    async def start(self) -> None:
        """Serves; ready as soon as the engine is."""
        await self._server.start()
        self._health_task = asyncio.get_running_loop().create_task(self._tell_health(), name="health")

    async def stop(self) -> None:
        """Says that it is going, ends watches, lets calls finish for a while, and stops."""
        if self._health_task is not None:
            self._health_task.cancel()
            await asyncio.gather(self._health_task, return_exceptions=True)
        await self._health.enter_graceful_shutdown()
        self._tail.close()
        await self._server.stop(self._settings.shutdown_seconds)

    async def _tell_health(self) -> None:
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        while True:
            # The server as such lives, and goes on serving watches, when the log can't be written for a while.
            await self._health.set("", serving)
            await self._health.set(SERVICE, serving if self._engine.healthy else not_serving)
            await asyncio.sleep(HEALTH_INTERVAL)


def _options(max_definition_bytes: int) -> list[tuple[str, int]]:
    return [
        # Two executors on one port would each see half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_definition_bytes + FRAMING_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 8_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping this often, also with no call open; more often than this and the connection is closed.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 3),
    ]
