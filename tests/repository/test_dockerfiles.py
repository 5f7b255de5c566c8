"""The images are built from hashed requirements, hold one service each and run it without rights."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.repository.dockerfiles import Stage, dockerfile, exec_form, read_stages, run_builder
from tests.repository.layout import ROOT, project
from tests.repository.manifests import parse, render, workload

SERVICES = ("bridge", "executor")
INSTALLED_AT = "/opt/weftline"


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stages(service: str) -> list[Stage]:
    return read_stages(dockerfile(service))


def test_an_image_has_a_builder_and_a_final_stage_on_one_pinned_base(stages: list[Stage], service: str) -> None:
    builder, final = stages
    assert builder.image == final.image == "python:${PYTHON_VERSION}-slim"
    assert re.search(r"^ARG PYTHON_VERSION=3\.\d+$", dockerfile(service).read_text(), re.MULTILINE)


def test_every_path_that_is_copied_exists_and_is_sent_to_the_builder(stages: list[Stage]) -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for item in stages[0].all("COPY"):
        for source in item.words()[:-1]:
            assert (ROOT / source).exists()
            assert any(source == path or source.startswith(f"{path}/") for path in sent), source


def test_only_the_services_own_package_is_copied(stages: list[Stage], service: str) -> None:
    copied = {source for item in stages[0].all("COPY") for source in item.words()[:-1]}
    folders = {source for source in copied if (ROOT / source).is_dir()}
    assert folders == {"proto/weftline", f"services/{service}/weftline_{service}"}


def test_everything_that_is_fetched_is_pinned_by_hash(stages: list[Stage]) -> None:
    installs = [item.arguments for item in stages[0].all("RUN") if " install " in item.arguments]
    assert len(installs) == 3
    assert all("--require-hashes" in command or "--no-index" in command for command in installs)


def test_the_extra_that_is_installed_exists(stages: list[Stage], service: str) -> None:
    assert stages[0].all("RUN")[-1].arguments.endswith(f'"weftline[{service}]"')
    assert service in project()["project"]["optional-dependencies"]


def test_the_program_runs_as_a_numbered_user_and_gets_signals_itself(stages: list[Stage], service: str) -> None:
    final = stages[1]
    (user,) = final.all("USER")
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user.arguments)
    (entrypoint,) = final.all("ENTRYPOINT")
    assert exec_form(entrypoint) == [f"weftline-{service}"]
    assert f"weftline-{service}" in project()["project"]["scripts"]
    assert not final.all("CMD")


def test_the_final_stage_takes_the_installed_environment_and_nothing_else(stages: list[Stage]) -> None:
    (copy,) = stages[1].all("COPY")
    assert copy.flag("from") == "builder"
    assert copy.words() == [INSTALLED_AT, INSTALLED_AT]


def test_image_and_manifest_agree_on_user_ports_and_settings(stages: list[Stage], service: str) -> None:
    deployed = workload(parse(render()), service)
    (user,) = stages[1].all("USER")
    security = deployed.pod["securityContext"]
    assert user.arguments == f"{security['runAsUser']}:{security['runAsGroup']}"
    (expose,) = stages[1].all("EXPOSE")
    assert [int(word) for word in expose.words()] == list(deployed.ports.values())
    settings = {name: value for name, value in stages[1].environment().items() if name.startswith("WEFTLINE_")}
    assert settings.items() <= deployed.settings.items()


def test_what_the_builder_stage_installs_runs_the_service(stages: list[Stage], service: str, tmp_path: Path) -> None:
    installed = run_builder(stages[0], tmp_path, INSTALLED_AT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WEFTLINE"))}
    command = [str(installed / "bin" / f"weftline-{service}"), "--version"]
    result = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert project()["project"]["version"] in result.stdout
    packages = {path.name for path in installed.glob("lib/python*/site-packages/weftline*") if path.suffix == ""}
    assert packages == {"weftline", f"weftline_{service}"}
    assert not list(installed.glob("lib/python*/site-packages/pip"))
