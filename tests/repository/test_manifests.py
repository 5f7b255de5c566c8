"""The Kubernetes manifests are valid, safe and in step with the services' code."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

import weftline_bridge.settings
import weftline_executor.settings
from tests.repository.documents import blocks
from tests.repository.layout import ROOT, project
from tests.repository.manifests import BASE, NAME_LABEL, Manifest, Workload, parse, render, workload

SETTINGS: dict[str, tuple[str, type[BaseSettings]]] = {
    "executor": ("WEFTLINE_EXECUTOR_", weftline_executor.settings.Settings),
    "bridge": ("WEFTLINE_BRIDGE_", weftline_bridge.settings.Settings),
}
SERVICES = sorted(SETTINGS)
MAIN_PORT = {"executor": "grpc", "bridge": "http"}
GRACE = {"executor": "shutdown_seconds", "bridge": "drain_seconds"}


@pytest.fixture(scope="module")
def rendered() -> str:
    return render()


@pytest.fixture(scope="module")
def manifests(rendered: str) -> list[Manifest]:
    return parse(rendered)


@pytest.fixture
def deployed(manifests: list[Manifest], service: str) -> Workload:
    return workload(manifests, service)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [item for item in manifests if item["kind"] == kind]


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_every_manifest_is_valid_for_the_oldest_and_the_newest_kubernetes(
    rendered: str, tmp_path: Path, version: str
) -> None:
    (tmp_path / "rendered.yaml").write_text(rendered)
    tool = Path(sys.executable).with_name("kubernetes-validate")
    command = [str(tool), "--strict", "--kubernetes-version", version, "rendered.yaml"]
    result = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("service", SERVICES)
class TestEachService:
    def test_is_configured_only_by_settings_that_exist(self, deployed: Workload, service: str) -> None:
        prefix, settings = SETTINGS[service]
        known = {prefix + name.upper() for name in settings.model_fields}
        assert deployed.settings.keys() <= known

    def test_is_configured_with_values_that_the_service_accepts(
        self, deployed: Workload, service: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in deployed.settings.items():
            monkeypatch.setenv(name, value)
        SETTINGS[service][1]()

    def test_listens_on_the_ports_that_the_pod_declares_and_the_defaults_name(
        self, deployed: Workload, service: str
    ) -> None:
        prefix, settings = SETTINGS[service]
        for field, port in {"listen": MAIN_PORT[service], "metrics_listen": "metrics"}.items():
            host, _, number = deployed.settings[prefix + field.upper()].rpartition(":")
            assert host == "0.0.0.0"
            assert int(number) == deployed.ports[port]
            assert settings.model_fields[field].default.rpartition(":")[2] == number

    def test_tells_prometheus_where_its_metrics_are(self, deployed: Workload) -> None:
        assert deployed.annotations["prometheus.io/scrape"] == "true"
        assert deployed.annotations["prometheus.io/path"] == "/metrics"
        assert int(deployed.annotations["prometheus.io/port"]) == deployed.ports["metrics"]

    def test_is_probed_at_start_for_readiness_and_for_liveness_on_its_main_port(
        self, deployed: Workload, service: str
    ) -> None:
        probes = deployed.probes()
        assert probes.keys() == {"startupProbe", "readinessProbe", "livenessProbe"}
        for probe in probes.values():
            if service == "executor":
                assert probe["grpc"]["port"] == deployed.ports["grpc"]
            else:
                assert probe["httpGet"]["port"] == "http"

    def test_has_more_time_to_end_than_its_drain_takes(self, deployed: Workload, service: str) -> None:
        prefix, _ = SETTINGS[service]
        drain = float(deployed.settings[prefix + GRACE[service].upper()])
        pause = deployed.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert deployed.pod["terminationGracePeriodSeconds"] >= pause + drain + 5

    def test_meets_the_restricted_pod_security_standard(self, deployed: Workload) -> None:
        pod, container = deployed.pod["securityContext"], deployed.container["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] >= 10_000
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    def test_has_no_access_to_the_cluster_and_gets_no_variable_that_looks_like_a_setting(
        self, deployed: Workload, manifests: list[Manifest]
    ) -> None:
        accounts = {item["metadata"]["name"]: item for item in of_kind(manifests, "ServiceAccount")}
        assert accounts[deployed.pod["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert deployed.pod["automountServiceAccountToken"] is False
        assert deployed.pod["enableServiceLinks"] is False

    def test_may_write_where_it_must(self, deployed: Workload, service: str) -> None:
        mounts = {mount["mountPath"] for mount in deployed.container["volumeMounts"]}
        assert "/tmp" in mounts
        if service == "executor":
            assert deployed.settings["WEFTLINE_EXECUTOR_DATA_DIR"] in mounts

    def test_asks_for_cpu_and_memory_and_is_bounded_in_memory(self, deployed: Workload) -> None:
        resources = deployed.container["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert "memory" in resources["limits"]

    def test_runs_the_image_of_this_release(self, deployed: Workload) -> None:
        assert deployed.container["image"] == f"{deployed.name}:{project()['project']['version']}"

    def test_carries_the_recommended_labels(self, deployed: Workload) -> None:
        recommended = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of", "version")}
        assert recommended <= deployed.pod_labels.keys()


def test_every_selector_finds_exactly_the_pods_of_the_service_it_is_named_after(manifests: list[Manifest]) -> None:
    pods = [workload(manifests, service).pod_labels for service in SERVICES]
    for item in manifests:
        spec = item.get("spec", {})
        selector = {
            "Service": lambda spec: spec["selector"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(item["kind"])
        if selector is None:
            continue
        found = [labels[NAME_LABEL] for labels in pods if selector(spec).items() <= labels.items()]
        assert found == [item["metadata"]["name"].removesuffix("-headless")], item["kind"]


def test_every_port_that_is_named_is_a_port_of_the_pod(manifests: list[Manifest]) -> None:
    ports = {f"weftline-{service}": workload(manifests, service).ports for service in SERVICES}
    for item in of_kind(manifests, "Service"):
        known = ports[item["spec"]["selector"][NAME_LABEL]]
        assert all(port["port"] == known[port["targetPort"]] for port in item["spec"]["ports"])
    for item in of_kind(manifests, "NetworkPolicy"):
        known = ports[item["spec"]["podSelector"]["matchLabels"][NAME_LABEL]]
        named = {port["port"] for rule in item["spec"]["ingress"] for port in rule["ports"]}
        assert named == known.keys()


def test_the_bridge_calls_the_executor_by_its_service(manifests: list[Manifest]) -> None:
    host, _, port = workload(manifests, "bridge").settings["WEFTLINE_BRIDGE_EXECUTOR"].rpartition(":")
    (service,) = (item for item in of_kind(manifests, "Service") if item["metadata"]["name"] == host)
    assert int(port) in {item["port"] for item in service["spec"]["ports"]}


def test_the_executor_is_one_pod_whose_log_outlives_it(manifests: list[Manifest]) -> None:
    spec = workload(manifests, "executor").manifest["spec"]
    services = {item["metadata"]["name"]: item["spec"] for item in of_kind(manifests, "Service")}
    assert spec["replicas"] == 1
    assert services[spec["serviceName"]]["clusterIP"] == "None"
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


def test_no_part_of_a_manifest_that_may_never_change_carries_the_version(manifests: list[Manifest]) -> None:
    spec = workload(manifests, "executor").manifest["spec"]
    assert "app.kubernetes.io/version" not in spec["volumeClaimTemplates"][0]["metadata"].get("labels", {})
    for service in SERVICES:
        assert workload(manifests, service).manifest["spec"]["selector"]["matchLabels"].keys() == {NAME_LABEL}


def test_a_roll_out_or_an_eviction_leaves_a_bridge_to_connect_to(manifests: list[Manifest]) -> None:
    spec = workload(manifests, "bridge").manifest["spec"]
    (budget,) = of_kind(manifests, "PodDisruptionBudget")
    assert spec["replicas"] > budget["spec"]["minAvailable"] >= 1
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_bridges_read_their_secret_from_a_mounted_file_that_only_they_can_read(manifests: list[Manifest]) -> None:
    bridge = workload(manifests, "bridge")
    file = Path(bridge.settings["WEFTLINE_BRIDGE_AUTH_SECRET_FILE"])
    assert "WEFTLINE_BRIDGE_ALLOW_ANONYMOUS" not in bridge.settings
    (mount,) = (mount for mount in bridge.container["volumeMounts"] if mount["mountPath"] == str(file.parent))
    (volume,) = (volume for volume in bridge.pod["volumes"] if volume["name"] == mount["name"])
    assert mount["readOnly"] is True
    assert volume["secret"]["defaultMode"] & 0o007 == 0
    assert volume["secret"].get("optional", False) is False
    assert not of_kind(manifests, "Secret")


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base with the component of mutual TLS."""
    folder = tmp_path_factory.mktemp("k8s")
    shutil.copytree(BASE, folder / "base")
    shutil.copytree(BASE.parent / "components", folder / "components")
    (folder / "own").mkdir()
    overlay = "resources: [../base]\ncomponents: [../components/mtls]\n"
    (folder / "own" / "kustomization.yaml").write_text(overlay)
    return render(folder / "own")


@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_the_manifests_with_mutual_tls_are_valid(mutual: str, tmp_path: Path, version: str) -> None:
    test_every_manifest_is_valid_for_the_oldest_and_the_newest_kubernetes(mutual, tmp_path, version)


@pytest.mark.parametrize("service", SERVICES)
def test_with_mutual_tls_each_service_reads_its_mounted_files_and_no_plaintext_is_left(
    mutual: str, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = workload(parse(mutual), service)
    prefix, settings = SETTINGS[service]
    files = {name: value for name, value in deployed.settings.items() if name.startswith(f"{prefix}TLS_")}
    mounts = {mount["mountPath"] for mount in deployed.container["volumeMounts"] if mount.get("readOnly")}
    assert len(files) == 3
    assert {str(Path(value).parent) for value in files.values()} <= mounts
    assert deployed.settings.get(f"{prefix}ALLOW_PLAINTEXT", "false") == "false"
    for name, value in deployed.settings.items():
        monkeypatch.setenv(name, value)
    loaded = settings()
    assert all(str(getattr(loaded, name.removeprefix(prefix).lower())) == value for name, value in files.items())
    if service == "executor":
        assert all(probe.keys().isdisjoint({"grpc"}) for probe in deployed.probes().values())
        assert all(probe["tcpSocket"]["port"] == "grpc" for probe in deployed.probes().values())


def test_the_overlay_that_the_operations_document_shows_renders(tmp_path: Path) -> None:
    shown = [
        block.content for block in blocks(ROOT / "docs" / "operations.md") if "kind: Kustomization" in block.content
    ]
    overlay = tmp_path / "overlays" / "own"
    overlay.mkdir(parents=True)
    (overlay / "kustomization.yaml").write_text("".join(shown))
    shutil.copytree(BASE, tmp_path / "base")
    bridge = workload(parse(render(overlay)), "bridge")
    assert bridge.container["image"].startswith("images.example/weftline-bridge:")
    assert bridge.settings["WEFTLINE_BRIDGE_ALLOWED_ORIGINS"] == "https://console.example"
    assert "WEFTLINE_BRIDGE_EXECUTOR" in bridge.settings
