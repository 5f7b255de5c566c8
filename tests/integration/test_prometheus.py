"""A real Prometheus scrapes both real services, and its own tool finds nothing to say about their metrics."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.repository.services import (
    Addresses,
    Service,
    free_addresses,
    http_status,
    running_services,
    wait_until,
)

JOBS = {"executor": "weftline_executor", "bridge": "weftline_bridge"}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with running_services(tmp_path_factory.mktemp("services")) as found:
        yield found


@pytest.fixture
def targets(addresses: Addresses) -> dict[str, str]:
    return {"executor": addresses.executor_metrics, "bridge": addresses.bridge_metrics}


def program(name: str) -> str:
    """The path of one of Prometheus's programs; skips where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (on Debian: apt-get install prometheus)")
    return path


def start_prometheus(listen: str, targets: dict[str, str], folder: Path) -> Service:
    """Starts Prometheus with a scrape of each target every 200 ms, by job name."""
    configuration = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in targets.items()],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    log = folder / "prometheus.log"
    command = [program("prometheus"), "--config.file=prometheus.yml", f"--web.listen-address={listen}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--storage.tsdb.path={folder / 'tsdb'}"], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    return Service("prometheus", process, log)


def query(prometheus: str, expression: str) -> dict[str, float]:
    """The value of an instant query for each job; empty while Prometheus does not answer."""
    url = f"http://{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            series = json.load(response)["data"]["result"]
    except urllib.error.URLError:
        return {}
    return {item["metric"].get("job", ""): float(item["value"][1]) for item in series}


def is_up(prometheus: str) -> bool:
    return query(prometheus, "up") == dict.fromkeys(JOBS, 1.0)


def test_prometheus_scrapes_both_services_and_finds_the_series_of_the_operations_document(
    targets: dict[str, str], tmp_path: Path
) -> None:
    listen = free_addresses().executor
    prometheus = start_prometheus(listen, targets, tmp_path)
    try:
        wait_until(partial(is_up, listen), prometheus)
        assert query(listen, "weftline_bridge_upstream_connected") == {"bridge": 1.0}
        assert query(listen, "weftline_executor_commit_failures_total") == {"executor": 0.0}
        assert query(listen, 'count by (job) ({__name__=~"weftline_executor_.+"}) > 20').keys() == {"executor"}
        assert query(listen, 'count by (job) ({__name__=~"weftline_bridge_.+"}) > 20').keys() == {"bridge"}
    finally:
        prometheus.stop()


@pytest.mark.parametrize("service", JOBS)
def test_metrics_pass_prometheus_own_lint(targets: dict[str, str], service: str) -> None:
    with urllib.request.urlopen(f"http://{targets[service]}/metrics", timeout=5) as response:
        exposition = response.read()
    result = subprocess.run(
        [program("promtool"), "check", "metrics"], check=False, input=exposition, capture_output=True, timeout=60
    )
    assert result.returncode == 0, result.stdout.decode() + result.stderr.decode()


@pytest.mark.parametrize("service", JOBS)
def test_every_metric_of_ours_begins_with_the_name_of_its_service(targets: dict[str, str], service: str) -> None:
    assert http_status(targets[service], "/metrics") == 200
    with urllib.request.urlopen(f"http://{targets[service]}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    ours = {name for name in names if not name.startswith(("process_", "python_"))}
    assert ours
    assert {name for name in ours if not name.startswith(f"{JOBS[service]}_")} == set()
