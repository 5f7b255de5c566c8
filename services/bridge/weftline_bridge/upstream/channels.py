"""A small pool of gRPC channels to the executor."""

from __future__ import annotations

import asyncio
from itertools import cycle

from grpc import aio

from weftline.v1 import workflow_service_pb2_grpc

_MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_OPTIONS: list[tuple[str, int]] = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", _MAX_RESPONSE_BYTES),
    # The watches back off by themselves; the channel must not make them wait longer than they mean to.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Channels with equal options share one connection unless each has a pool of its own.
    ("grpc.use_local_subchannel_pool", 1),
]


class ChannelPool:
    """`size` channels to `address`, handed out in turn."""

    def __init__(self, address: str, size: int) -> None:
        self._channels = [aio.insecure_channel(address, options=_OPTIONS) for _ in range(size)]
        self._stubs = cycle([workflow_service_pb2_grpc.WorkflowServiceStub(channel) for channel in self._channels])

    def stub(self) -> workflow_service_pb2_grpc.WorkflowServiceStub:
        """The stub whose turn it is."""
        return next(self._stubs)

    async def close(self) -> None:
        """End all calls and close the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels))
