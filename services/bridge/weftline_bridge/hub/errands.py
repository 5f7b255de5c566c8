"""What is being done in the background for single readers: leading them to a head, telling them a state."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from weftline_bridge.hub.group import Reader
from weftline_bridge.hub.tasks import TaskOwner


class Errands:
    """At most one task for each reader and workflow; it ends with its reader."""

    def __init__(self, tasks: TaskOwner) -> None:
        self._tasks = tasks
        self._running: dict[Reader, dict[str, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return sum(len(tasks) for tasks in self._running.values())

    def run(self, reader: Reader, workflow_id: str, work: Coroutine[object, object, None]) -> None:
        """Run `work` for a reader, in place of what was being done for it in this workflow."""
        self.end(reader, workflow_id)
        task = self._tasks.start(work, f"errand-{workflow_id}")
        self._running.setdefault(reader, {})[workflow_id] = task
        task.add_done_callback(lambda done: self._ended(reader, workflow_id, done))

    def end(self, reader: Reader, workflow_id: str) -> None:
        """Stop what is being done for a reader in a workflow, if anything is."""
        task = self._running.get(reader, {}).get(workflow_id)
        if task is not None:
            task.cancel()
            self._ended(reader, workflow_id, task)

    def of(self, reader: Reader) -> list[str]:
        """The workflows in which something is being done for a reader."""
        return list(self._running.get(reader, ()))

    def concern(self, workflow_id: str) -> bool:
        """Whether anything is being done for anyone in a workflow."""
        return any(workflow_id in tasks for tasks in self._running.values())

    def _ended(self, reader: Reader, workflow_id: str, task: asyncio.Task[None]) -> None:
        running = self._running.get(reader, {})
        if running.get(workflow_id) is task:
            del running[workflow_id]
            if not running:
                del self._running[reader]
