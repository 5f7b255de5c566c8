"""A small pool of gRPC channels to the executor."""

from __future__ import annotations

import asyncio
from itertools import cycle

from grpc import ChannelConnectivity, aio

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
    """`size` channels to `address`, handed out in turn: those that are connected, if any is.

    One that has failed refuses calls until it tries again, which may be when others have long succeeded.
    """

    def __init__(self, address: str, size: int) -> None:
        self._channels = [aio.insecure_channel(address, options=_OPTIONS) for _ in range(size)]
        self._stubs = [workflow_service_pb2_grpc.WorkflowServiceStub(channel) for channel in self._channels]
        self._turn = cycle(range(size))

    def stub(self) -> workflow_service_pb2_grpc.WorkflowServiceStub:
        """The stub whose turn it is."""
        turn = first = next(self._turn)
        for _ in self._channels:
            # Asking also has a channel that is idle connect, so that it takes part again.
            if self._channels[turn].get_state(try_to_connect=True) is ChannelConnectivity.READY:
                return self._stubs[turn]
            turn = next(self._turn)
        return self._stubs[first]

    async def close(self) -> None:
        """End all calls and close the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels))
