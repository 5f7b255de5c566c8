"""Where things are in the repository, for the tests that hold them together."""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "weftline": ROOT / "proto" / "weftline",
    "weftline_executor": ROOT / "services" / "executor" / "weftline_executor",
    "weftline_bridge": ROOT / "services" / "bridge" / "weftline_bridge",
    "weftline_cli": ROOT / "clients" / "cli" / "weftline_cli",
}
FOLDERS = (
    ".ci", "bench", "clients", "deploy", "docs", "examples", "proto", "requirements", "scripts", "services", "tests"
)  # fmt: skip
ROOT_FILES = {
    ".dockerignore",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Makefile",
    "README.md",
    "pyproject.toml",
}
SKIPPED_FOLDERS = {"node_modules", "dist", "__pycache__"}


def files(*patterns: str, root: Path = ROOT) -> list[Path]:
    """Lists the project's own files that match one of the glob patterns, sorted.

    What somebody keeps beside them in the root, such as a module of node types, is not the project's.
    """
    places = [root / folder for folder in FOLDERS]
    found = {path for pattern in patterns for place in places for path in place.rglob(pattern) if path.is_file()}
    found |= {path for pattern in patterns for path in root.glob(pattern) if path.name in ROOT_FILES}
    return sorted(path for path in found if not _is_foreign(path.relative_to(root)))


def _is_foreign(relative: Path) -> bool:
    return any(part in SKIPPED_FOLDERS or (part.startswith(".") and part != ".ci") for part in relative.parts[:-1])


def project() -> dict[str, Any]:
    """Reads pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
