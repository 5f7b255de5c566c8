"""Installs the peers, each from a lock with hashes, into an environment of their own below bench/peers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.report import progress

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = HERE / "requirements.txt"
NODE_LOCK = HERE / "package-lock.json"
INSTALL_SECONDS = 600.0


class PeersMissing(Exception):
    """Peers can't be installed here; says why in one sentence."""


def python_peers() -> str:
    """Installs the peers that are written in Python unless they are there; returns their interpreter.

    Raises PeersMissing.
    """
    stamp = VENV / "installed"
    if not _current(stamp, REQUIREMENTS):
        progress("installing peers written in Python")
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)])
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", "--require-hashes", "-r", str(REQUIREMENTS)])
        stamp.touch()
    return str(PYTHON)


def node_peers() -> str:
    """Installs the peers that are written in JavaScript unless they are there; returns the path of node.

    Raises PeersMissing.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PeersMissing("node and npm are not installed")
    stamp = HERE / "node_modules" / "installed"
    if not _current(stamp, NODE_LOCK):
        progress("installing peers written in JavaScript")
        _run([npm, "ci", "--silent", "--no-audit", "--no-fund"])
        stamp.touch()
    return node


def _current(stamp: Path, lock: Path) -> bool:
    return stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeersMissing(f"{command[0]} failed: {error}") from error
    if done.returncode != 0:
        raise PeersMissing(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")
