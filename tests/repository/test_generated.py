"""What is generated and committed is what the generators make now."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.layout import ROOT


def check(root: Path) -> subprocess.CompletedProcess[str]:
    """Asks the generator of the contract's code whether the code under `root` is current."""
    environment = os.environ | {"VENV": sys.prefix}
    command = [str(root / "scripts" / "generate.sh"), "--check"]
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the contract and its generator."""
    for folder in ("proto", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_code_of_the_contract_is_current() -> None:
    result = check(ROOT)
    assert result.returncode == 0, result.stderr


def test_a_contract_that_was_changed_without_its_code_is_found(copy: Path) -> None:
    proto = copy / "proto" / "weftline" / "v1" / "events.proto"
    proto.write_text(proto.read_text() + "\n// One more.\nmessage OneMore {}\n")
    result = check(copy)
    assert result.returncode == 1
    assert "proto/weftline/v1/events_pb2.py is not current: run make generate." in result.stderr


def test_generated_code_without_its_contract_is_found(copy: Path) -> None:
    (copy / "proto" / "weftline" / "v1" / "gone_pb2.py").write_text("")
    result = check(copy)
    assert result.returncode == 1
    assert "gone_pb2.py is generated from nothing" in result.stderr
