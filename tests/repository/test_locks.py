"""The requirement files pin and hash what pyproject.toml asks for, in the same versions, and name no address."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repository.layout import ROOT, project

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PYTHONS = ("3.11", "3.14")
EXTRAS = {"executor": ["executor", "s3"], "bridge": ["bridge"], "runtime": ["executor", "bridge", "cli"]}
"""The extras that a lock is compiled from, where these are not all of them."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One pinned requirement of a lock."""

    name: str
    version: str
    marker: Marker | None
    hashes: int


def read_lock(path: Path) -> Iterator[Pin]:
    """Reads the pins of a lock; raises AssertionError at a line that is neither a pin nor a hash."""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        if line.startswith("#"):
            continue
        text, *hashes = re.split(r"\s+--hash=sha256:", line.strip())
        requirement = Requirement(text)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        yield Pin(canonicalize_name(requirement.name), specifier.version, requirement.marker, len(hashes))


def group(name: str) -> list[Requirement]:
    """The requirements of a dependency group, included groups with it."""
    found: list[Requirement] = []
    for item in project()["dependency-groups"][name]:
        found += group(item["include-group"]) if isinstance(item, dict) else [Requirement(item)]
    return found


def asked_for(lock: str) -> list[Requirement]:
    """The direct requirements that a lock is compiled from."""
    if lock == "build":
        return group("build")
    tables: dict[str, Any] = project()["project"]
    extras = EXTRAS.get(lock, list(tables["optional-dependencies"]))
    texts = [*tables["dependencies"], *(text for extra in extras for text in tables["optional-dependencies"][extra])]
    return [Requirement(text) for text in texts] + {"runtime": group("build"), "dev": group("dev")}.get(lock, [])


def test_there_is_a_lock_for_each_use() -> None:
    assert [path.stem for path in LOCKS] == ["bridge", "build", "dev", "executor", "runtime"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
class TestEachLock:
    def test_pins_every_direct_dependency_to_a_version_that_is_asked_for(self, lock: Path) -> None:
        pins = {pin.name: pin.version for pin in read_lock(lock)}
        for requirement in asked_for(lock.stem):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement

    def test_gives_every_pin_a_hash(self, lock: Path) -> None:
        assert all(pin.hashes for pin in read_lock(lock))

    def test_pins_a_package_once_for_each_python(self, lock: Path) -> None:
        for python in PYTHONS:
            names = [
                pin.name
                for pin in read_lock(lock)
                if pin.marker is None or pin.marker.evaluate({"python_version": python, "python_full_version": python})
            ]
            assert len(names) == len(set(names))

    def test_names_no_address_and_no_option(self, lock: Path) -> None:
        lines = lock.read_text().splitlines()
        assert not [line for line in lines if "://" in line or line.startswith("-")]

    def test_pins_the_versions_that_the_tests_run_with(self, lock: Path) -> None:
        tested = {(pin.name, pin.version) for pin in read_lock(ROOT / "requirements" / "dev.txt")}
        assert {(pin.name, pin.version) for pin in read_lock(lock)} <= tested


def test_a_services_image_gets_no_tool_of_the_developers() -> None:
    tools = {canonicalize_name(requirement.name) for requirement in group("dev")}
    for service in ("executor", "bridge"):
        assert not tools & {pin.name for pin in read_lock(ROOT / "requirements" / f"{service}.txt")}
