"""Asks the services whether they are ready: the executor by gRPC health, the bridge by `GET /readyz`."""

import asyncio
import http.client
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
from grpc_health.v1 import health_pb2

from weftline_cli.address import Address

CHECK: Final = "/grpc.health.v1.Health/Check"
TRY_S: Final = 2.0
PAUSE_S: Final = 0.05


async def executor_ready(address: Address) -> bool:
    """Whether the executor at the address serves."""
    async with grpc.aio.insecure_channel(str(address)) as channel:
        check = channel.unary_unary(
            CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=TRY_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def bridge_ready(address: Address) -> bool:
    """Whether the bridge at the address reaches its executor."""
    return await asyncio.to_thread(_get_readyz, address)


async def until(ready: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `ready` says so; the caller sets the deadline."""
    while True:
        if await ready():
            return
        await asyncio.sleep(PAUSE_S)


def _get_readyz(address: Address) -> bool:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=TRY_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
