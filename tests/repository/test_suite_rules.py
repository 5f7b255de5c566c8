"""The rules of tests/conftest.py bite: each is shown a test that breaks it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository.layout import ROOT

SKIPS = "import pytest\n\ndef test_it():\n    pytest.skip('no such program')\n"
SKIPS_AS_MODULE = "import pytest\n\npytest.importorskip('no_such_module')\n"
FAILS_AS_EXPECTED = "import pytest\n\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"
LEAVES_A_TASK = """
import asyncio

async def wait_shielded(forever):
    while True:
        try:
            await forever.wait()
        except asyncio.CancelledError:
            return

async def test_it():
    test_it.task = asyncio.create_task(wait_shielded(asyncio.Event()), name="left-over")
"""
LEAVES_A_PROCESS = """
import subprocess

def test_it():
    test_it.child = subprocess.Popen(["sleep", "60"])
"""
LEAVES_NOTHING = """
import asyncio
import subprocess

async def test_it():
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    child = subprocess.Popen(["sleep", "60"])
    child.kill()
    child.wait()
"""


def run_pytest(folder: Path, source: str, *, ci: bool) -> subprocess.CompletedProcess[str]:
    """Runs pytest on one test file under the suite's conftest, in a folder of its own."""
    source_of_rules = (ROOT / "tests" / "conftest.py").read_text()
    (folder / "conftest.py").write_text(source_of_rules.replace("LEFTOVER_SECONDS = 5.0", "LEFTOVER_SECONDS = 0.2"))
    (folder / "test_sample.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    environment = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    environment |= {"CI": "true"} if ci else {}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)]
    return subprocess.run(command, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("source", [SKIPS, SKIPS_AS_MODULE], ids=["test", "module"])
def test_a_skip_fails_where_nothing_may_be_missing(tmp_path: Path, source: str) -> None:
    result = run_pytest(tmp_path, source, ci=True)
    assert result.returncode != 0
    assert "was skipped where nothing may be missing" in result.stdout


def test_a_skip_is_only_reported_on_a_developers_machine(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, SKIPS, ci=False)
    assert result.returncode == 0
    assert "1 skipped" in result.stdout


def test_an_expected_failure_is_not_taken_for_a_skip(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, FAILS_AS_EXPECTED, ci=True)
    assert result.returncode == 0
    assert "1 xfailed" in result.stdout


def test_a_test_that_leaves_a_task_behind_fails_and_names_it(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, LEAVES_A_TASK, ci=False)
    assert result.returncode != 0
    assert "left tasks running: ['left-over']" in result.stdout


def test_a_test_that_leaves_a_process_behind_fails_and_names_it(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, LEAVES_A_PROCESS, ci=False)
    assert result.returncode != 0
    assert "left processes running: ['sleep 60']" in result.stdout


def test_a_test_that_cleans_up_passes(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, LEAVES_NOTHING, ci=True)
    assert result.returncode == 0, result.stdout
