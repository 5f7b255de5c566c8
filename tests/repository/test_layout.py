"""The tests of the repository look at the project's files, and at no others that somebody keeps in its folder."""

import subprocess
from pathlib import Path

import pytest

from tests.repository.layout import FOLDERS, ROOT, ROOT_FILES, files


def test_a_stray_file_in_the_root_is_not_the_projects(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("my_module.py", "notes.md", "README.md", "docs/page.md"):
        (tmp_path / name).write_text("")
    assert files("*.md", "*.py", root=tmp_path) == [tmp_path / "README.md", tmp_path / "docs" / "page.md"]


def test_everything_that_is_tracked_is_in_a_folder_that_is_looked_at() -> None:
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    listed = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    tops = {name.partition("/")[0] for name in listed.stdout.splitlines()}
    assert tops - {*FOLDERS, *ROOT_FILES} == set()
