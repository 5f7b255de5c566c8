"""The contracts between modules in pyproject.toml bite: each is shown an import that breaks it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.layout import PACKAGES, ROOT


def lint_imports(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    """Checks one contract over the packages in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--contract", contract]
    return subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages with the contracts on them."""
    folder = tmp_path_factory.mktemp("packages")
    for name, package in PACKAGES.items():
        shutil.copytree(package, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("contract", "module", "statement"),
    [
        ("executor-layers", "weftline_executor/graph/wrong.py", "import weftline_executor.engine"),
        ("executor-layers", "weftline_executor/store/wrong.py", "import weftline_executor.nodes"),
        ("executor-layers", "weftline_executor/without_a_place.py", ""),
        ("bridge-layers", "weftline_bridge/upstream/wrong.py", "import weftline_bridge.hub"),
        ("bridge-layers", "weftline_bridge/without_a_place.py", ""),
        ("independent-programs", "weftline_cli/wrong.py", "import weftline_executor.model"),
        ("independent-programs", "weftline_bridge/app/wrong.py", "import weftline_executor.model"),
        ("grpc-at-the-edges", "weftline_executor/engine/wrong.py", "from weftline.v1 import events_pb2"),
        ("grpc-at-the-edges", "weftline_bridge/hub/wrong.py", "import grpc.aio"),
        ("grpc-at-the-edges", "weftline_bridge/session/wrong.py", "from google.protobuf import json_format"),
        ("aiohttp-at-the-edges", "weftline_bridge/upstream/wrong.py", "from aiohttp import web"),
        ("pure-cores", "weftline_executor/replay/wrong.py", "import asyncio"),
        ("pure-cores", "weftline_bridge/protocol/wrong.py", "from time import time"),
    ],
)
def test_an_import_that_breaks_a_contract_is_found(copy: Path, contract: str, module: str, statement: str) -> None:
    (copy / module).write_text(f'"""Breaks a contract."""\n{statement}\n')
    try:
        broken = lint_imports(copy, contract)
    finally:
        (copy / module).unlink()
    assert broken.returncode == 1
    assert module.removesuffix(".py").replace("/", ".") in broken.stdout
