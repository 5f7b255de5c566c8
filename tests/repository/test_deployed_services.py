"""The services, started with the settings of the manifests, answer the probes of the manifests and end in time."""

import socket
from functools import partial
from pathlib import Path

import pytest

from tests.repository.manifests import Workload, parse, render, workload
from tests.repository.services import (
    START_SECONDS,
    Addresses,
    Service,
    bridge_settings,
    executor_settings,
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
    """Starts a service with its deployed settings, but for what has to be this test's own."""
    own = settings_of_its_own(service, addresses, folder)
    assert own.keys() <= deployed.settings.keys()
    return start(service, folder, deployed.settings | own)


def settings_of_its_own(service: str, addresses: Addresses, folder: Path) -> dict[str, str]:
    """The settings of a service that no two tests may share: addresses and folders."""
    if service == "executor":
        return executor_settings(addresses, folder)
    secret = folder / "secret"
    secret.write_text("the secret that an operator mounts into the pod\n")
    return bridge_settings(addresses) | {"WEFTLINE_BRIDGE_AUTH_SECRET_FILE": str(secret)}


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


def test_a_deployed_bridge_asks_for_tokens(deployed: dict[str, Workload], addresses: Addresses, tmp_path: Path) -> None:
    bridge = start_as_deployed(deployed["bridge"], "bridge", addresses, tmp_path)
    try:
        wait_until(partial(is_ok, addresses.bridge, "/healthz"), bridge)
        assert http_status(addresses.bridge, "/api/connections") == 401
    finally:
        assert bridge.stop() == 0


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


@pytest.mark.parametrize("service", ["executor", "bridge"])
@pytest.mark.parametrize("setting", ["LISTEN", "LOG_FORMAT"])
def test_a_wrong_setting_ends_a_service_with_status_2_and_its_name(service: str, setting: str, tmp_path: Path) -> None:
    variable = f"WEFTLINE_{service.upper()}_{setting}"
    started = start(service, tmp_path, {variable: "nonsense"})
    assert started.process.wait(START_SECONDS) == 2
    assert variable in started.log.read_text()
    assert "Traceback" not in started.log.read_text()


@pytest.mark.parametrize("service", ["executor", "bridge"])
@pytest.mark.parametrize("setting", ["LISTEN", "METRICS_LISTEN"])
def test_a_port_that_is_taken_ends_a_service_with_status_1_and_its_number(
    deployed: dict[str, Workload], addresses: Addresses, service: str, setting: str, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        own = settings_of_its_own(service, addresses, tmp_path)
        own[f"WEFTLINE_{service.upper()}_{setting}"] = f"127.0.0.1:{port}"
        started = start(service, tmp_path, deployed[service].settings | own)
        assert started.process.wait(START_SECONDS) == 1
    assert str(port) in started.log.read_text()
    assert "Traceback" not in started.log.read_text()
