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
SKIPPED_FOLDERS = {"node_modules", "dist", "__pycache__"}


def files(*patterns: str) -> list[Path]:
    """Lists the project's own files that match one of the glob patterns, sorted."""
    found = {path for pattern in patterns for path in ROOT.rglob(pattern) if path.is_file()}
    return sorted(path for path in found if not _is_foreign(path.relative_to(ROOT)))


def _is_foreign(relative: Path) -> bool:
    return any(part in SKIPPED_FOLDERS or (part.startswith(".") and part != ".ci") for part in relative.parts[:-1])


def project() -> dict[str, Any]:
    """Reads pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
