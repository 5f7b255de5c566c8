"""`make` offers a handful of targets, explains them, and finds a Python that fits."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.repository.layout import ROOT

FIND_PYTHON = ROOT / "scripts" / "find-python.sh"


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_make_alone_lists_six_to_ten_targets_with_a_word_on_each() -> None:
    result = make()
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines()]
    assert 6 <= len(lines) <= 10
    assert all(len(line) == 3 for line in lines)
    assert {"help", "run", "test", "check"} <= {target for _, target, _ in lines}


def test_every_target_that_help_lists_can_be_made() -> None:
    for line in make("help").stdout.splitlines():
        result = make("--dry-run", line.split()[1])
        assert result.returncode == 0, result.stderr


def test_every_script_that_the_makefile_names_exists_and_may_be_run() -> None:
    named = set(re.findall(r"scripts/[\w.-]+", (ROOT / "Makefile").read_text()))
    assert named
    for script in named:
        assert os.access(ROOT / script, os.X_OK if script.endswith(".sh") else os.R_OK), script


def test_run_passes_once_on() -> None:
    assert "--once" in make("--dry-run", "run", "ONCE=1").stdout
    assert "--once" not in make("--dry-run", "run").stdout


def test_a_first_run_says_once_that_it_installs_and_a_second_one_does_not() -> None:
    first = make("--dry-run", "--what-if=requirements/runtime.txt", "run").stdout
    assert len(re.findall(r'^echo "Installing Weftline', first, re.MULTILINE)) == 1
    assert (
        "Installing"
        not in make("--dry-run", "--assume-old=requirements/runtime.txt", "--assume-old=pyproject.toml", "run").stdout
    )


def find_python(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Runs scripts/find-python.sh where `programs` (by name, with `_` for `.`) are the only Pythons."""
    for name, body in programs.items():
        program = folder / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    for name in ("bash", "env", "sh"):
        (folder / name).symlink_to(f"/bin/{name}" if name != "env" else "/usr/bin/env")
    return subprocess.run(
        [str(FIND_PYTHON)], check=False, env={"PATH": str(folder)}, capture_output=True, text=True, timeout=60
    )


FITS = "exit 0"
TOO_OLD = "exit 1"
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1;; esac'


def test_the_first_python_that_fits_is_taken(tmp_path: Path) -> None:
    result = find_python(tmp_path, python3=TOO_OLD, python3_13=FITS, python3_11=FITS)
    assert result.stdout.strip() == str(tmp_path / "python3.13")


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (WITHOUT_VENV, "python3 has no venv module: install it (on Debian: apt-get install python3-venv)."),
        (TOO_OLD, "Weftline needs Python 3.11 or newer: install one, or name it with make PYTHON=/path/to/python3."),
    ],
    ids=["no venv module", "too old"],
)
def test_a_machine_without_a_fitting_python_is_told_so_in_one_sentence(
    tmp_path: Path, program: str, sentence: str
) -> None:
    result = find_python(tmp_path, python3=program)
    assert result.returncode == 1
    assert result.stderr.strip() == sentence
