"""Starts the executor as a process and ends it cleanly on SIGTERM and SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from wsgiref.simple_server import WSGIServer

import uvloop
from prometheus_client import start_http_server

from weftline_executor import __version__
from weftline_executor.allocator import give_back_large_buffers
from weftline_executor.api import ApiServer
from weftline_executor.artifacts import MEMORY, Files
from weftline_executor.engine import CacheConfig, Engine, EngineConfig, WorkerConfig
from weftline_executor.errors import ExecutorError, SettingInvalid
from weftline_executor.graph import Limits
from weftline_executor.metrics import Metrics
from weftline_executor.model.records import Retention
from weftline_executor.nodes import ChatService, HttpFence, NodeTypeError, Registry, Secrets, passed_on
from weftline_executor.settings import Settings, load_settings
from weftline_executor.store import MemoryStore, SqliteStore, Store
from weftline_executor.tracing import Tracing

EXIT_FAILED = 1
EXIT_USAGE = 2
SWITCH_SECONDS = 0.0001
"""For how long a node's thread that computes keeps the engine waiting each time; Python's default is 5 ms."""

TRACING_SECONDS = 3.0
"""How long the end waits for spans to be sent."""

DAY_MS = 86_400_000
_log = logging.getLogger("weftline_executor")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the executor until it is told to end; exits with 1 when it can't start, 2 when it is configured wrongly."""
    options = _parse(arguments)
    try:
        settings = load_settings(**vars(options))
        registry = _load_registry(settings)
        tracing = _load_tracing(settings)
    except (SettingInvalid, NodeTypeError) as error:
        _fail(str(error), EXIT_USAGE)
    _set_up_logging(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    give_back_large_buffers()
    # What was imported stays to the end: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    try:
        uvloop.run(_serve(settings, registry, tracing))
    except SettingInvalid as error:
        _fail(str(error), EXIT_USAGE)
    except (ExecutorError, OSError) as error:
        _fail(str(error), EXIT_FAILED)
    # Threads of nodes that never return must not keep the process.
    logging.shutdown()
    os._exit(0)


def _now() -> int:
    return time.time_ns() // 1_000_000


async def _serve(settings: Settings, registry: Registry, tracing: Tracing | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    store: Store = SqliteStore(settings.data_dir) if settings.store == "sqlite" else MemoryStore()
    await store.open()
    metrics = Metrics()
    secrets = Secrets(directory=settings.secrets_dir)
    files = Files(_place_of_artifacts(settings))
    engine = Engine(store, registry, secrets, metrics, _config(settings), _now, files, tracing)
    server = ApiServer(engine, registry, settings, metrics, _now, tracing)
    _bind(server, settings)
    metrics_server = _serve_metrics(settings, metrics)
    await engine.start()
    await server.start()
    _log.info("serving gRPC on %s, metrics on %s", settings.listen, settings.metrics_listen)
    await _first_of(stopping, engine.failed)
    _log.info("stopping")
    await server.stop()
    await engine.close()
    await store.close()
    if tracing is not None:
        await tracing.close(TRACING_SECONDS)
    metrics_server.shutdown()
    if engine.failed.is_set():
        raise ExecutorError("a part that nothing works without has died; started again, the executor goes on")


async def _first_of(*events: asyncio.Event) -> None:
    """Waits until one of the events is set."""
    waiting = [asyncio.create_task(event.wait(), name="until the end") for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def _place_of_artifacts(settings: Settings) -> Path | str:
    if settings.artifacts_url:
        return settings.artifacts_url
    return settings.data_dir / "artifacts" if settings.store == "sqlite" else MEMORY


def _config(settings: Settings) -> EngineConfig:
    return EngineConfig(
        concurrency=settings.concurrency,
        max_runs=settings.max_runs,
        max_output_bytes=settings.max_output_bytes,
        artifact_bytes=settings.artifact_bytes,
        max_artifact_bytes=settings.max_artifact_bytes,
        cache=CacheConfig(round(settings.cache_days * DAY_MS), settings.cache_bytes),
        blocked_loop_seconds=settings.blocked_loop_seconds,
        workers=WorkerConfig(
            settings.process_workers,
            settings.process_memory_mb,
            settings.process_cpu_seconds,
            passed_on(os.environ, settings.process_environment),
        ),
        limits=Limits(settings.max_nodes, settings.max_edges, settings.max_definition_bytes),
        retention=Retention(round(settings.retention_days * DAY_MS), settings.retention_runs, settings.retention_bytes),
    )


def _load_registry(settings: Settings) -> Registry:
    fence = HttpFence(frozenset(settings.http_allowed_hosts), settings.http_allow_private)
    chat = ChatService(settings.llm_base_url, frozenset(settings.llm_key_hosts))
    registry = Registry.with_builtins(
        fence,
        chat,
        enabled=settings.enable_nodes,
        environment=passed_on(os.environ, settings.process_environment),
    )
    registry.load_entry_points()
    # Like `python -m`, so that a module beside the workflow is found.
    sys.path.insert(0, "")
    for module in settings.nodes:
        registry.load_module(module)
    return registry


def _load_tracing(settings: Settings) -> Tracing | None:
    if not settings.tracing:
        return None
    try:
        # Only here: an executor that does not trace has no use for it, and perhaps does not have it.
        from weftline_executor.tracing.otel import OtlpSink  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingInvalid(
            f"WEFTLINE_EXECUTOR_TRACING takes the extra `otel`, as in `weftline[executor,otel]`: {error}"
        ) from None
    return Tracing(OtlpSink("weftline-executor", __version__), settings.tracing_ratio, _now)


def _bind(server: ApiServer, settings: Settings) -> None:
    try:
        server.bind()
    except OSError as error:
        raise OSError(
            f"address {settings.listen} can't be used, is it taken? (WEFTLINE_EXECUTOR_LISTEN or --listen)"
        ) from error


def _serve_metrics(settings: Settings, metrics: Metrics) -> WSGIServer:
    host, _, port = settings.metrics_listen.rpartition(":")
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), metrics.registry)
    except OSError as error:
        raise OSError(
            f"address {settings.metrics_listen} can't be used: {error.strerror} "
            "(WEFTLINE_EXECUTOR_METRICS_LISTEN or --metrics-listen)"
        ) from error
    return server


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="weftline-executor",
        description="Runs workflow graphs and streams what happens over gRPC.",
        epilog="All other settings are environment variables; see the README.",
    )
    parser.add_argument("--version", action="version", version=f"weftline-executor {__version__}")
    parser.add_argument("--listen", metavar="HOST:PORT", help="address of the gRPC server (127.0.0.1:50051)")
    parser.add_argument("--metrics-listen", metavar="HOST:PORT", help="address of the metrics (127.0.0.1:9102)")
    parser.add_argument("--data-dir", metavar="DIR", help="directory of the event log (.weftline)")
    parser.add_argument("--nodes", action="append", metavar="MODULE", help="load node types from a module; repeatable")
    return parser.parse_args(arguments)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def _set_up_logging(settings: Settings) -> None:
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-8s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])


def _fail(message: str, status: int) -> NoReturn:
    print(f"weftline-executor: {message}", file=sys.stderr)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
