"""Installs the peers below bench/peers: from locks with hashes, and nchan from Debian's signed packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.report import progress

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = HERE / "requirements.txt"
NODE_LOCK = HERE / "package-lock.json"
NGINX = HERE / ".nginx"
NGINX_PACKAGES = ("nginx", "libnginx-mod-nchan")
MODULE = "ngx_nchan_module.so"
INSTALL_SECONDS = 600.0


class PeersMissing(Exception):
    """Peers can't be installed here; says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Nginx:
    """The program, and the module that is nchan."""

    program: Path
    module: Path


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


def nchan() -> Nginx:
    """Finds nginx with nchan on this machine; unpacks the Debian packages for the bench alone unless they are there.

    Unpacked is not installed: no service is set up, none is started, and it needs no root. Raises PeersMissing.
    """
    found = _installed_nginx()
    if found is not None:
        return found
    unpacked = Nginx(NGINX / "usr/sbin/nginx", NGINX / "usr/lib/nginx/modules" / MODULE)
    if not (unpacked.program.exists() and unpacked.module.exists()):
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise PeersMissing("nginx with nchan is not installed, and there are no Debian packages of it here")
        progress("unpacking nginx and nchan")
        shutil.rmtree(NGINX, ignore_errors=True)
        NGINX.mkdir()
        _download_packages()
        for package in NGINX.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(NGINX)])
            package.unlink()
    return unpacked


def _installed_nginx() -> Nginx | None:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return None
    # What it was built with goes to standard error.
    told = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10, check=False).stderr
    folder = re.search(r"--modules-path=(\S+)", told)
    module = Path(folder[1]) / MODULE if folder else None
    return Nginx(Path(program), module) if module is not None and module.exists() else None


def _download_packages() -> None:
    download = ["apt-get", "download", "-qq", *NGINX_PACKAGES]
    try:
        _run(download, NGINX)
    except PeersMissing:
        if os.geteuid() != 0:
            raise
        # An image of Debian often comes without the lists of what there is.
        _run(["apt-get", "update", "-qq"])
        _run(download, NGINX)


def _current(stamp: Path, lock: Path) -> bool:
    return stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime


def _run(command: list[str], folder: Path = HERE) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeersMissing(f"{command[0]} failed: {error}") from error
    if done.returncode != 0:
        raise PeersMissing(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")
