"""The services, started with the settings of the manifests, answer the probes of the manifests and end in time."""

from functools import partial
from pathlib import Path

import pytest

from tests.repository.manifests import Workload, parse, render, workload
from tests.repository.services import (
    Addresses,
    Service,
    free_addresses,
    health,
    http_status,
    start,
    wait_until,
)


@pytest.fixture(scope="module")
def deployed() -> dict[str, Workload]:
    manifests = parse(render())
    return {service: workload(manifests, service) for service in ("executor", "bridge")}


@pytest.fixture
def addresses() -> Addresses:
    return free_addresses()


def is_serving(address: str, service: str) -> bool:
    return health(address, service) == "SERVING"


def is_ok(address: str, path: str) -> bool:
    return http_status(address, path) == 200


def start_as_deployed(deployed: Workload, service: str, addresses: Addresses, folder: Path) -> Service:
    """Starts a service with its deployed settings, but for what has to be this test's own: ports and folders."""
    prefix = f"WEFTLINE_{service.upper()}_"
    own = {
        prefix + "LISTEN": getattr(addresses, service),
        prefix + "METRICS_LISTEN": getattr(addresses, f"{service}_metrics"),
    }
    own |= {"WEFTLINE_EXECUTOR_DATA_DIR": str(folder / "data")} if service == "executor" else {}
    own |= {"WEFTLINE_BRIDGE_EXECUTOR": addresses.executor} if service == "bridge" else {}
    assert own.keys() <= deployed.settings.keys()
    return start(service, folder, deployed.settings | own)


def test_the_executor_answers_its_probes_and_ends_cleanly(
    deployed: dict[str, Workload], addresses: Addresses, tmp_path: Path
) -> None:
    executor = start_as_deployed(deployed["executor"], "executor", addresses, tmp_path)
    try:
        for probe in deployed["executor"].probes().values():
            wait_until(partial(is_serving, addresses.executor, probe["grpc"].get("service", "")), executor)
        path = deployed["executor"].annotations["prometheus.io/path"]
        assert http_status(addresses.executor_metrics, path) == 200
    finally:
        assert executor.stop() == 0


def test_the_bridge_answers_its_probes_and_ends_cleanly(
    deployed: dict[str, Workload], addresses: Addresses, tmp_path: Path
) -> None:
    executor = start_as_deployed(deployed["executor"], "executor", addresses, tmp_path)
    bridge = start_as_deployed(deployed["bridge"], "bridge", addresses, tmp_path)
    try:
        for probe in deployed["bridge"].probes().values():
            wait_until(partial(is_ok, addresses.bridge, probe["httpGet"]["path"]), bridge)
        path = deployed["bridge"].annotations["prometheus.io/path"]
        assert http_status(addresses.bridge_metrics, path) == 200
    finally:
        statuses = [bridge.stop(), executor.stop()]
    assert statuses == [0, 0]


def test_a_bridge_without_an_executor_is_alive_but_not_ready(
    deployed: dict[str, Workload], addresses: Addresses, tmp_path: Path
) -> None:
    bridge = start_as_deployed(deployed["bridge"], "bridge", addresses, tmp_path)
    probes = deployed["bridge"].probes()
    try:
        alive = probes["livenessProbe"]["httpGet"]["path"]
        wait_until(partial(is_ok, addresses.bridge, alive), bridge)
        assert http_status(addresses.bridge, probes["readinessProbe"]["httpGet"]["path"]) == 503
    finally:
        assert bridge.stop() == 0
