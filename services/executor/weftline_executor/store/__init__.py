"""The durable event log: one port, and its adapters."""

from weftline_executor.store.memory import MemoryStore
from weftline_executor.store.port import Store
from weftline_executor.store.sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore", "Store"]
