"""Reads a WfCommons instance: its tasks with their runtimes, and which depends on which."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from weftline_cli.errors import BadInstanceError

SCHEMA_VERSIONS: Final = ("1.5",)

_KINDS: Final[Mapping[type, str]] = {dict: "an object", list: "an array", str: "a non-empty string"}

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Task:
    """One task; `runtime_s` is how long it took in seconds, None when the instance holds no execution of it."""

    id: str
    name: str
    runtime_s: float | None


@dataclass(frozen=True, slots=True)
class Instance:
    """A workflow that was executed once: its tasks, and its dependencies as pairs of indices (parent, child)."""

    name: str
    tasks: tuple[Task, ...]
    dependencies: tuple[tuple[int, int], ...]


def read_instance(raw: bytes, source: str) -> Instance:
    """Read an instance from the bytes of its JSON text; `source` names where they came from.

    Raises BadInstanceError, saying where, when they are no instance of a known schema version.
    """
    return _Reader(source).read(raw)


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source

    def read(self, raw: bytes) -> Instance:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._bad("", f"it is not JSON: {error}.") from error
        if not isinstance(body, dict):
            raise self._bad("", "an instance is a JSON object.")
        version = body.get("schemaVersion")
        if version not in SCHEMA_VERSIONS:
            known = ", ".join(SCHEMA_VERSIONS)
            raise self._bad("schemaVersion", f"version {version!r} is not known; known: {known}.")
        workflow = self._field(body, "workflow", dict, "")
        specification = self._field(workflow, "specification", dict, "workflow.")
        listed = self._field(specification, "tasks", list, "workflow.specification.")
        if not listed:
            raise self._bad("workflow.specification.tasks", "it is empty.")
        runtimes = self._runtimes(workflow)
        tasks = tuple(
            self._task(each, f"workflow.specification.tasks[{at}]", runtimes) for at, each in enumerate(listed)
        )
        return Instance(self._field(body, "name", str, ""), tasks, self._dependencies(listed, tasks))

    def _runtimes(self, workflow: Mapping[str, Any]) -> dict[str, float]:
        if "execution" not in workflow:
            return {}
        execution = self._field(workflow, "execution", dict, "workflow.")
        runtimes: dict[str, float] = {}
        for at, each in enumerate(self._field(execution, "tasks", list, "workflow.execution.")):
            path = f"workflow.execution.tasks[{at}]"
            task = self._object(each, path)
            runtime: Any = task.get("runtimeInSeconds")
            if not _is_seconds(runtime):
                raise self._bad(
                    f"{path}.runtimeInSeconds", f"a runtime is a number of seconds from 0, not {runtime!r}."
                )
            runtimes[self._field(task, "id", str, f"{path}.")] = float(runtime)
        return runtimes

    def _task(self, listed: Any, path: str, runtimes: Mapping[str, float]) -> Task:
        task = self._object(listed, path)
        task_id = self._field(task, "id", str, f"{path}.")
        return Task(task_id, self._field(task, "name", str, f"{path}."), runtimes.get(task_id))

    def _dependencies(self, listed: list[Any], tasks: tuple[Task, ...]) -> tuple[tuple[int, int], ...]:
        """Return the union of what parents and children say, each pair once, in the order in which it is first said."""
        index: dict[str, int] = {}
        for at, task in enumerate(tasks):
            if index.setdefault(task.id, at) != at:
                raise self._bad(f"workflow.specification.tasks[{at}].id", f"{task.id!r} is the id of another task too.")
        pairs: dict[tuple[int, int], None] = {}
        for at, task in enumerate(listed):
            for key in ("parents", "children"):
                path = f"workflow.specification.tasks[{at}].{key}"
                for other in self._field(task, key, list, f"workflow.specification.tasks[{at}]."):
                    if not isinstance(other, str) or other not in index:
                        raise self._bad(path, f"there is no task {other!r}.")
                    pairs[(index[other], at) if key == "parents" else (at, index[other])] = None
        return tuple(pairs)

    def _field(self, body: Mapping[str, Any], key: str, kind: type[Kind], prefix: str) -> Kind:
        value = body.get(key)
        if isinstance(value, kind) and (value or kind is not str):
            return value
        problem = "is missing" if key not in body else "has the wrong type"
        raise self._bad(f"{prefix}{key}", f"it {problem}: it must be {_KINDS[kind]}.")

    def _object(self, value: Any, path: str) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        raise self._bad(path, "it must be an object.")

    def _bad(self, path: str, problem: str) -> BadInstanceError:
        return BadInstanceError(self._source, path, problem)


def _is_seconds(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0
