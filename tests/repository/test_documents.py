"""The documents are true: their links lead somewhere, their data parses and their code runs."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from tests.repository.documents import Block, anchors, blocks, links
from tests.repository.layout import ROOT, files
from tests.repository.services import Addresses, running_services

DOCUMENTS = files("*.md")
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
KINDS = {
    "bash": {"backup", "restore", "services"},
    "json": set(),
    "python": {"fragment", "services"},
    "toml": set(),
    "yaml": set(),
    **{shown: set() for shown in ("javascript", "jsx", "mermaid", "proto", "promql", "text", "typescript")},
}
"""The languages that a block may have, with the marks that it may bear: `fragment` is compiled only, `services` runs
against both services, whose default addresses in it are replaced by those of the test; `backup` and `restore` are what
test_backup.py runs."""
PORTS = {"50051": "executor", "9102": "executor_metrics", "8080": "bridge", "9101": "bridge_metrics"}


def at(addresses: Addresses, text: str) -> str:
    """The text with the services' default addresses replaced by others."""
    return re.sub(
        r"\b(?:127\.0\.0\.1|localhost):(50051|9102|8080|9101)\b",
        lambda found: str(getattr(addresses, PORTS[found[1]])),
        text,
    )


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with running_services(tmp_path_factory.mktemp("services")) as found:
        yield found


def run(command: list[str], folder: Path, **variables: str) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    result = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr


def check_json(block: Block) -> None:
    json.loads(block.content)


def check_yaml(block: Block) -> None:
    assert list(yaml.safe_load_all(block.content))


def check_toml(block: Block) -> None:
    tomllib.loads(block.content)


def check_python(block: Block) -> None:
    compile(block.content, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def check_bash(block: Block) -> None:
    """Checks the syntax, and that make's targets, weftline's commands and the repository's files exist."""
    subprocess.run(["/bin/bash", "-n"], check=True, input=block.content.encode(), timeout=10)
    for line in block.content.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            run(["make", "--dry-run", *(word for word in words[1:] if "=" not in word)], ROOT)
        if words[:1] == ["weftline"]:
            run(["weftline", words[1], "--help"], ROOT)
        named = [word for word in words if re.match(r"(examples|scripts|deploy|docs|services|requirements)/", word)]
        assert [word for word in named if not (ROOT / word).exists()] == []


CHECKS = {"json": check_json, "yaml": check_yaml, "toml": check_toml, "python": check_python, "bash": check_bash}
COMMANDS = {"python": [sys.executable, "-c"], "bash": ["/bin/bash", "-euo", "pipefail", "-c"]}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_of_a_known_kind_and_well_formed(block: Block) -> None:
    assert block.language in KINDS
    assert block.marks <= KINDS[block.language]
    if block.language in CHECKS:
        CHECKS[block.language](block)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_of_a_document_runs(document: Path, tmp_path: Path, addresses: Addresses) -> None:
    told = [block.content for block in blocks(document) if block.language == "python" and not block.marks]
    if told:
        run([*COMMANDS["python"], "\n".join(told)], tmp_path)
    for block in blocks(document):
        if "services" in block.marks:
            run([*COMMANDS[block.language], at(addresses, block.content)], ROOT)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_into_the_repository_leads_somewhere(document: Path) -> None:
    for target in links(document):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = unquote(target).partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        if fragment and linked.suffix == ".md":
            assert fragment in anchors(linked), target
