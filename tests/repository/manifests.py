"""The rendered manifests as the tests look at them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.repository.layout import ROOT

BASE = ROOT / "deploy" / "k8s" / "base"
NAME_LABEL = "app.kubernetes.io/name"
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or StatefulSet with what belongs to it."""

    manifest: Manifest
    settings: dict[str, str]
    """The environment variables that its one container gets."""

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def pod(self) -> Manifest:
        spec: Manifest = self.manifest["spec"]["template"]["spec"]
        return spec

    @property
    def pod_labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.manifest["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def annotations(self) -> dict[str, str]:
        annotations: dict[str, str] = self.manifest["spec"]["template"]["metadata"]["annotations"]
        return annotations

    @property
    def container(self) -> Manifest:
        (container,) = self.pod["containers"]
        found: Manifest = container
        return found

    @property
    def ports(self) -> dict[str, int]:
        """The container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def probes(self) -> dict[str, Manifest]:
        """The container's probes by name (startupProbe, readinessProbe, livenessProbe)."""
        return {name: probe for name, probe in self.container.items() if name.endswith("Probe")}


def render(folder: Path = BASE) -> str:
    """Renders a kustomization, as `kubectl apply -k` would send it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    command = [kubectl, "kustomize", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def parse(rendered: str) -> list[Manifest]:
    """Splits rendered manifests into documents."""
    return list(yaml.safe_load_all(rendered))


def workload(manifests: list[Manifest], service: str) -> Workload:
    """Finds the workload of a service (`executor` or `bridge`) with the settings it is given."""
    (manifest,) = (
        item
        for item in manifests
        if item["kind"] in {"Deployment", "StatefulSet"} and item["metadata"]["name"] == f"weftline-{service}"
    )
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    settings: dict[str, str] = {item["name"]: item["value"] for item in container.get("env", [])}
    maps = {item["metadata"]["name"]: item["data"] for item in manifests if item["kind"] == "ConfigMap"}
    for source in container["envFrom"]:
        settings |= maps[source["configMapRef"]["name"]]
    return Workload(manifest, settings)
