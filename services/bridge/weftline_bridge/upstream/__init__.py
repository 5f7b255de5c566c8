"""The executor as the bridge sees it: the only place that knows gRPC and protobuf."""

from weftline_bridge.upstream.client import Accepted, ExecutorClient
from weftline_bridge.upstream.credentials import TlsFiles
from weftline_bridge.upstream.items import (
    Arrival,
    Compacted,
    Created,
    Heartbeat,
    StateItem,
    WatchItem,
    WatchStart,
)

__all__ = [
    "Accepted",
    "Arrival",
    "Compacted",
    "Created",
    "ExecutorClient",
    "Heartbeat",
    "StateItem",
    "TlsFiles",
    "WatchItem",
    "WatchStart",
]
