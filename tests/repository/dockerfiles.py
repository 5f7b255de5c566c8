"""A reader of Dockerfiles, and a runner of their builder stage without a container engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.repository.layout import ROOT


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its continued lines joined."""

    keyword: str
    arguments: str

    def words(self) -> list[str]:
        """The arguments without flags such as `--from=builder`."""
        return [word for word in self.arguments.split() if not word.startswith("--")]

    def flag(self, name: str) -> str | None:
        """The value of a flag `--name=value`."""
        found = re.match(rf"(?:.*\s)?--{name}=(\S+)", self.arguments)
        return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Stage:
    """What follows one FROM."""

    image: str
    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[Instruction]:
        """The stage's instructions with this keyword, in order."""
        return [item for item in self.instructions if item.keyword == keyword]

    def environment(self) -> dict[str, str]:
        """The variables that ENV sets."""
        pairs = (word.partition("=") for item in self.all("ENV") for word in item.words())
        return {name: value for name, _, value in pairs}


def dockerfile(service: str) -> Path:
    """The Dockerfile of a service (`executor` or `bridge`)."""
    return ROOT / "services" / service / "Dockerfile"


def read_stages(path: Path) -> list[Stage]:
    """Splits a Dockerfile into its stages."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    stages: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        keyword, _, arguments = line.partition(" ")
        if keyword == "FROM":
            stages.append(Stage(arguments.split()[0], ()))
        elif stages:
            last = stages[-1]
            instruction = Instruction(keyword, " ".join(arguments.split()))
            stages[-1] = Stage(last.image, (*last.instructions, instruction))
    return stages


def exec_form(instruction: Instruction) -> list[str]:
    """The words of an exec-form instruction; raises ValueError where it is in shell form."""
    words = json.loads(instruction.arguments)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{instruction.keyword} is not a list of strings: {instruction.arguments}")
    return words


def run_builder(stage: Stage, folder: Path, installed_at: str) -> Path:
    """Carries out COPY and RUN of a builder stage in `folder`; returns what `installed_at` has become there.

    The stage's `python` and `pip` are those of a fresh virtual environment, as they are of the base image in a build.
    """
    context, target, base = folder / "build", folder / "installed", folder / "base"
    context.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(base)], check=True, timeout=120)
    environment = os.environ | {"PATH": f"{base / 'bin'}:{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)
    for item in stage.instructions:
        if item.keyword == "COPY":
            _copy(item.words(), context)
        elif item.keyword == "RUN":
            command = item.arguments.replace(installed_at, str(target))
            result = subprocess.run(
                ["/bin/sh", "-euc", command],
                check=False,
                cwd=context,
                env=environment,
                capture_output=True,
                timeout=240,
            )
            assert result.returncode == 0, f"{command}\n{result.stdout.decode()}\n{result.stderr.decode()}"
    return target


def _copy(words: list[str], context: Path) -> None:
    *sources, destination = words
    for source in sources:
        origin = ROOT / source
        if origin.is_dir():
            shutil.copytree(origin, context / destination, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target = context / destination
            target = target / origin.name if destination.endswith("/") else target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, target)
