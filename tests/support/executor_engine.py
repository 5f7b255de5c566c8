"""The executor within the test's own process, where starting one a test must be fast: real gRPC, real store."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.executor_client import Client
from weftline_executor.api import ApiServer
from weftline_executor.artifacts import MEMORY, Files
from weftline_executor.engine import CacheConfig, Engine, EngineConfig, WorkerConfig
from weftline_executor.graph import Limits
from weftline_executor.metrics import Metrics
from weftline_executor.model.records import Retention
from weftline_executor.nodes import ChatService, HttpFence, Registry, passed_on
from weftline_executor.settings import Settings
from weftline_executor.store import MemoryStore, SqliteStore, Store

SECRETS = {"TOKEN": "s3cr3t-token"}
TEST_NODES = "tests.support.test_nodes"
PROCESS_NODES = "tests.support.process_nodes"


def now() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


def registry(settings: Settings | None = None) -> Registry:
    """The built-in node types, those for tests, and those of the modules that the settings name."""
    settings = settings or Settings()
    fence = HttpFence(frozenset(settings.http_allowed_hosts), settings.http_allow_private)
    chat = ChatService(settings.llm_base_url, frozenset(settings.llm_key_hosts))
    environment = passed_on(os.environ, settings.process_environment)
    made = Registry.with_builtins(fence, chat, enabled=settings.enable_nodes, environment=environment)
    made.load_module(TEST_NODES)
    made.load_module(PROCESS_NODES)
    for module in settings.nodes:
        made.load_module(module)
    return made


@dataclass(frozen=True, slots=True)
class RunningExecutor:
    """An executor that serves, and a client of it."""

    client: Client
    engine: Engine
    metrics: Metrics
    store: Store
    files: Files
    types: Registry
    address: str


@asynccontextmanager
async def running_executor(data_dir: Path | None = None, **settings: Any) -> AsyncIterator[RunningExecutor]:
    """Runs an executor until the block ends, in memory unless it is given a directory; `settings` by field name."""
    chosen = Settings(listen="127.0.0.1:0", shutdown_seconds=0, **settings)
    store: Store = SqliteStore(data_dir) if data_dir else MemoryStore()
    await store.open()
    metrics, types = Metrics(), registry(chosen)
    config = EngineConfig(
        concurrency=chosen.concurrency,
        max_runs=chosen.max_runs,
        max_output_bytes=chosen.max_output_bytes,
        artifact_bytes=chosen.artifact_bytes,
        max_artifact_bytes=chosen.max_artifact_bytes,
        cache=CacheConfig(round(chosen.cache_days * 86_400_000), chosen.cache_bytes),
        blocked_loop_seconds=chosen.blocked_loop_seconds,
        workers=WorkerConfig(
            chosen.process_workers,
            chosen.process_memory_mb,
            chosen.process_cpu_seconds,
            passed_on(os.environ, chosen.process_environment),
        ),
        limits=Limits(chosen.max_nodes, chosen.max_edges, chosen.max_definition_bytes),
        retention=Retention(round(chosen.retention_days * 86_400_000), chosen.retention_runs, chosen.retention_bytes),
    )
    files = Files(data_dir / "artifacts" if data_dir else MEMORY)
    engine = Engine(store, types, SECRETS, metrics, config, now, files)
    server = ApiServer(engine, types, chosen, metrics, now)
    address = f"127.0.0.1:{server.bind()}"
    await engine.start()
    await server.start()
    client = Client(address)
    try:
        yield RunningExecutor(client, engine, metrics, store, files, types, address)
    finally:
        await client.channel.close()
        await server.stop()
        await engine.close()
        await store.close()
