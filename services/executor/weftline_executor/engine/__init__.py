"""The engine: runs graphs as event-sourced state machines with one writer each."""

from weftline_executor.engine.supervisor import CommandResult, Engine, EngineConfig, Listener

__all__ = ["CommandResult", "Engine", "EngineConfig", "Listener"]
