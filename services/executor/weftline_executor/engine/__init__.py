"""The engine: runs graphs as event-sourced state machines with one writer each."""

from weftline_executor.engine.commands import CommandResult
from weftline_executor.engine.result_cache import CacheConfig
from weftline_executor.engine.supervisor import Engine, EngineConfig, Listener
from weftline_executor.engine.workers import WorkerConfig

__all__ = ["CacheConfig", "CommandResult", "Engine", "EngineConfig", "Listener", "WorkerConfig"]
