"""The wheel holds every package with its data, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.repository.layout import PACKAGES, ROOT, project


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def contents_of(folder: Path) -> set[str]:
    kept = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder.parent).as_posix() for path in kept}


def test_the_wheel_holds_the_four_packages_whole_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == set().union(*(contents_of(folder) for folder in PACKAGES.values()))


def test_typed_packages_say_so(wheel: zipfile.ZipFile) -> None:
    assert "weftline/py.typed" in wheel.namelist()


def test_the_wheel_installs_the_three_programs(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    entry_points = wheel.read(name).decode()
    for script, target in project()["project"]["scripts"].items():
        assert f"{script} = {target}" in entry_points


@pytest.mark.parametrize("target", project()["project"]["scripts"].values())
def test_each_program_that_is_named_exists(target: str) -> None:
    module, _, function = target.partition(":")
    check = f"import importlib; assert callable(importlib.import_module({module!r}).{function})"
    result = subprocess.run([sys.executable, "-c", check], check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
