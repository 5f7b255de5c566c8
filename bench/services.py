"""Starts Weftline's own services for a measurement, as a user would."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2

from bench.machine import free_ports
from bench.processes import Child, module, running

_PROBE_SECONDS = 2.0


@contextmanager
def executor(
    folder: Path, *, core: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Child, str]]:
    """Runs the executor with its default settings and its log below `folder`; gives it and its address."""
    port, metrics = free_ports(2)
    address = f"127.0.0.1:{port}"
    own = {
        "WEFTLINE_EXECUTOR_LISTEN": address,
        "WEFTLINE_EXECUTOR_METRICS_LISTEN": f"127.0.0.1:{metrics}",
        "WEFTLINE_EXECUTOR_DATA_DIR": str(folder / "data"),
        **(settings or {}),
    }
    with running("executor", module("weftline_executor"), folder, core=core, settings=own) as child:
        child.wait_until(lambda: _serves(address))
        yield child, address


@contextmanager
def bridge(folder: Path, executor_address: str, *, core: int | None = None) -> Iterator[tuple[Child, int]]:
    """Runs the bridge with its default settings on an executor; gives it and its port."""
    port, metrics = free_ports(2)
    own = {
        "WEFTLINE_BRIDGE_LISTEN": f"127.0.0.1:{port}",
        "WEFTLINE_BRIDGE_METRICS_LISTEN": f"127.0.0.1:{metrics}",
        "WEFTLINE_BRIDGE_EXECUTOR": executor_address,
    }
    with running("bridge", module("weftline_bridge"), folder, core=core, settings=own) as child:
        child.wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"))
        yield child, port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _serves(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
