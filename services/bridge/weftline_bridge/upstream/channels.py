"""A small pool of gRPC channels to the executor."""

from __future__ import annotations

import asyncio
import logging
from itertools import cycle

from grpc import ChannelConnectivity, aio

from weftline.v1 import workflow_service_pb2_grpc
from weftline_bridge.upstream.credentials import TlsFiles

_log = logging.getLogger(__name__)

_MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_OPTIONS: list[tuple[str, int | str]] = [
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

    def __init__(self, address: str, size: int, tls: TlsFiles | None = None) -> None:
        self._address = address
        self._size = size
        self._tls = tls
        self._stamp = tls.stamp() if tls is not None else ()
        self._channels = self._open()
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

    async def renew(self, grace: float) -> None:
        """Open all channels anew if the files of TLS have changed; calls of the old ones may take `grace` seconds more.

        Files that can't be read leave the channels as they are.
        """
        if self._tls is None:
            return
        try:
            stamp = self._tls.stamp()
            if stamp == self._stamp:
                return
            channels = self._open()
        except OSError as error:
            _log.warning("the changed files of TLS can't be read, the connections stay: %s", error)
            return
        self._stamp = stamp
        old, self._channels = self._channels, channels
        self._stubs = [workflow_service_pb2_grpc.WorkflowServiceStub(channel) for channel in channels]
        _log.info("the files of TLS have changed: the executor is called by new connections")
        await asyncio.gather(*(channel.close(grace) for channel in old))

    def _open(self) -> list[aio.Channel]:
        if self._tls is None:
            return [aio.insecure_channel(self._address, options=_OPTIONS) for _ in range(self._size)]
        name = self._tls.server_name
        options = [*_OPTIONS, *([("grpc.ssl_target_name_override", name)] if name else [])]
        credentials = self._tls.credentials()
        return [aio.secure_channel(self._address, credentials, options=options) for _ in range(self._size)]

    async def close(self) -> None:
        """End all calls and close the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels))
