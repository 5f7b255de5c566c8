"""Lets go of what nobody needs any more: ended runs, as far as the settings say, and what was stored for them."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from weftline_executor.artifacts import Artifacts
from weftline_executor.engine.result_cache import ResultCache
from weftline_executor.errors import ArtifactError, StoreUnavailable
from weftline_executor.model.records import Retention
from weftline_executor.store import Store

INTERVAL_SECONDS = 60.0
SWEEP_EVERY = 10
"""After how many times kept results are looked through, which takes longer the more there are."""

LOOKED_UP_AT_ONCE = 256
_log = logging.getLogger(__name__)


class Retainer:
    """Deletes ended runs from the log once a minute, and their artifacts with them; `now` is in ms since the epoch.

    Kept results, which are no run's, are looked through every ten minutes.

    Use: `await look_around()` before any run can begin, then `run()`. The log comes first, so that no run in it ever
    lacks an artifact. What a crash in between has left over is found at the next start, by looking for artifacts of
    runs that the log does not know.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Artifacts,
        results: ResultCache,
        retention: Retention,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._results = results
        self._retention = retention
        self._now = now
        self._found: list[str] = []
        self._left_over: set[str] = set()

    async def run(self) -> None:
        """Retains until cancelled."""
        await self._forget_known()
        # A clock that jumps ahead must not delete what is new; a start believes it.
        loop, began = asyncio.get_running_loop(), self._now()
        beginning = loop.time()
        for number in itertools.count():
            await self._retain(min(self._now(), began + round((loop.time() - beginning) * 1000)))
            await self._delete_artifacts()
            if number % SWEEP_EVERY == 0:
                await self._sweep()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def look_around(self) -> None:
        """Notes which runs have artifacts. A run that begins afterwards may have some before it is in the log."""
        try:
            self._found = await self._artifacts.runs()
        except ArtifactError as error:
            _log.error("left-over artifacts can't be looked for before the next start: %s", error)

    async def _forget_known(self) -> None:
        """Counts those runs as left over that the log does not know."""
        found, self._found = self._found, []
        try:
            for begin in range(0, len(found), LOOKED_UP_AT_ONCE):
                some = found[begin : begin + LOOKED_UP_AT_ONCE]
                self._left_over |= set(some) - await self._store.known_runs(some)
        except StoreUnavailable as error:
            _log.error("left-over artifacts can't be told from others before the next start: %s", error)

    async def _retain(self, now: int) -> None:
        try:
            deleted = await self._store.retain(self._retention, now)
        except StoreUnavailable as error:
            _log.error("retention failed: %s", error)
            return
        if deleted:
            _log.info("retention deleted %d ended runs", len(deleted))
        self._left_over.update(deleted)

    async def _sweep(self) -> None:
        try:
            await self._results.sweep()
        except ArtifactError as error:
            _log.error("kept results can't be looked through: %s", error)

    async def _delete_artifacts(self) -> None:
        """Deletes the artifacts of runs that are gone; what can't be deleted now is tried again next time."""
        for run_id in sorted(self._left_over):
            try:
                await self._artifacts.delete_run(run_id)
            except ArtifactError as error:
                _log.error("the artifacts of deleted runs can't be deleted, trying again: %s", error)
                return
            self._left_over.discard(run_id)
