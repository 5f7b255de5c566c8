"""Every example workflow does what it is there to show."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from tests.repository.layout import ROOT
from tests.support.stack import Stack, running_stack

EXITS = {"branching": 0, "failure": 1, "orders": 0, "parallel": 0, "quickstart": 0, "rescue": 0}
"""How `weftline run` ends by example; `http` asks a server of the public internet and is only validated."""


async def weftline(stack: Stack, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Runs the command line to its end and gives its exit status and its messages."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "weftline_cli", "--executor", stack.executor_address, *arguments, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    return process.returncode or 0, [json.loads(line) for line in out.splitlines()]


async def test_every_example_runs_and_ends_as_it_should(tmp_path: Path) -> None:
    files = {path.stem: str(path) for path in (ROOT / "examples").glob("*.json")}
    assert set(files) == {*EXITS, "http"}
    async with running_stack(tmp_path) as stack:
        found = await asyncio.gather(*(weftline(stack, "run", "--json", files[name]) for name in EXITS))
        valid, _ = await weftline(stack, "validate", "--json", files["http"])
    assert {name: status for name, (status, _) in zip(EXITS, found, strict=True)} == EXITS
    assert valid == 0
    ended = {name: messages[-1] for name, (_, messages) in zip(EXITS, found, strict=True)}
    assert ended["rescue"]["payload"]["outputs"]["result"]["percent"] == 0
    report = ended["orders"]["payload"]["outputs"]["report"]
    assert report["kinds"] == [{"key": "book", "lines": 2, "dearest": 30}, {"key": "lamp", "lines": 1, "dearest": 45}]
    assert report["all"] == {"pieces": 5, "skus": "A1, C3, D4"}
    assert ended["failure"]["type"] == "execution.error"
