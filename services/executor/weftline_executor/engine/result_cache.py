"""Results of nodes that opted in, by what they were given: found again in any run, and worked out once at a time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from weftline_executor.artifacts import Entries, Entry
from weftline_executor.engine.attempt import Attempt
from weftline_executor.engine.errands import Errands
from weftline_executor.engine.launch import Launch, Owner
from weftline_executor.engine.launcher import Launcher
from weftline_executor.engine.outcome import Failure, Result, Success
from weftline_executor.errors import ArtifactError
from weftline_executor.metrics import Metrics
from weftline_executor.model.states import SuccessReason

_CANCELLED = Failure("cancelled: the run was stopped", "cancelled", retryable=False)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """For how long results are kept at most, in ms, and how much room they may take together, in bytes."""

    max_age_ms: int = 30 * 86_400_000
    max_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An attempt that takes a result that is no older than `max_age_ms`."""

    launch: Launch
    max_age_ms: int

    @property
    def gone(self) -> bool:
        """Whether nobody wants the result any more."""
        return self.launch.attempt.done


class ResultCache:
    """Launches attempts whose results may be there already. All methods are called in the engine's event loop.

    Of several attempts that are given the same, in any runs, one leads: it looks for a kept result, and works one out
    when there is none. The others wait for it, with the slots that they have, and when it does not come to a result the
    next of them leads. `now` gives milliseconds since the Unix epoch.
    """

    def __init__(
        self,
        entries: Entries,
        errands: Errands,
        launcher: Launcher,
        metrics: Metrics,
        config: CacheConfig,
        now: Callable[[], int],
    ) -> None:
        self._entries = entries
        self._errands = errands
        self._launcher = launcher
        self._metrics = metrics
        self._config = config
        self._now = now
        self._waiting: dict[str, deque[_Wanted]] = {}

    def launch(self, launch: Launch, max_age: float) -> None:
        """Begins an attempt; `max_age` is in seconds, 0 for as long as results are kept."""
        limit = self._config.max_age_ms
        wanted = _Wanted(launch, min(limit, round(max_age * 1000)) if max_age else limit)
        attempt = launch.attempt
        attempt.cancel = lambda: launch.owner.finish(attempt, _CANCELLED)
        self._begin_to_look(wanted)

    def _begin_to_look(self, wanted: _Wanted) -> None:
        launch = wanted.launch
        failed = Failure("no kept result could be looked for; the executor's log says why", "internal")
        self._errands.run(
            f"look for a result of {launch.where}",
            self._look(wanted),
            lambda: launch.owner.finish(launch.attempt, failed),
        )

    async def _look(self, wanted: _Wanted) -> None:
        try:
            # What has much to read is rendered and hashed apart from the loop, which serves other runs.
            key = await asyncio.to_thread(_key, wanted) if wanted.launch.heavy else _key(wanted)
        except Exception:
            # The launch fails in the same way, and says why.
            self._run_code(wanted)
            return
        if key in self._waiting:
            self._waiting[key].append(wanted)
            return
        self._waiting[key] = deque()
        entry = await self._read(key)
        if entry is None or not self._fresh(entry, wanted):
            self._lead(key, wanted)
            return
        self._give(wanted, entry)
        for other in self._waiting.pop(key):
            if self._fresh(entry, other):
                self._give(other, entry)
            else:
                self._begin_to_look(other)

    async def _read(self, key: str) -> Entry | None:
        try:
            return await self._entries.read(key)
        except ArtifactError as error:
            _log.warning("kept results can't be read: %s", error)
            return None

    def _fresh(self, entry: Entry, wanted: _Wanted) -> bool:
        known = not entry.handle or entry.handle in wanted.launch.node.handles
        return known and self._now() - entry.written_at <= wanted.max_age_ms

    def _give(self, wanted: _Wanted, entry: Entry) -> None:
        if not wanted.gone:
            self._metrics.cache_hits.inc()
            success = Success(entry.output, entry.handle, SuccessReason.CACHED)
            wanted.launch.owner.finish(wanted.launch.attempt, success)

    def _lead(self, key: str, wanted: _Wanted) -> None:
        """Works a result out, for whoever waits for it."""
        if wanted.gone:
            self._next(key)
            return
        self._metrics.cache_misses.inc()
        heard = _Heard(wanted.launch.owner)
        loop = asyncio.get_running_loop()

        def led(result: object) -> None:
            # Not within the end of the leader, since others that end by it may be its run's.
            loop.call_soon(self._led, key, result, heard)

        wanted.launch.attempt.ended = led
        self._run_code(_Wanted(msgspec.structs.replace(wanted.launch, owner=heard), wanted.max_age_ms))

    def _led(self, key: str, result: object, heard: _Heard) -> None:
        """The leader has ended, with a result or without."""
        if not isinstance(result, Success):
            self._next(key)
            return
        entry = Entry(heard.output, result.handle, self._now())
        self._errands.run(f"keep the result {key}", self._keep(key, entry))
        for wanted in self._waiting.pop(key):
            self._give(wanted, entry)

    def _next(self, key: str) -> None:
        waiting = self._waiting[key]
        while waiting and waiting[0].gone:
            waiting.popleft()
        if waiting:
            self._lead(key, waiting.popleft())
        else:
            del self._waiting[key]

    def _run_code(self, wanted: _Wanted) -> None:
        if not wanted.gone:
            wanted.launch.attempt.cancel = None
            self._launcher.launch(wanted.launch)

    async def _keep(self, key: str, entry: Entry) -> None:
        try:
            await self._entries.write(key, entry)
        except ArtifactError as error:
            _log.warning("a result can't be kept: %s", error)

    async def sweep(self) -> None:
        """Lets go of results that are too old or too many. Raises ArtifactError."""
        deleted = await self._entries.sweep(self._config.max_age_ms, self._config.max_bytes, self._now())
        if deleted:
            _log.info("%d kept results were deleted", deleted)


class _Heard:
    """The owner of a leading attempt, with the output that it gave before that became an artifact."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.output = b""

    def finish(self, attempt: Attempt, result: Result) -> None:
        """See Owner."""
        if isinstance(result, Success):
            self.output = result.output
        self._owner.finish(attempt, result)

    def report_progress(self, attempt: Attempt) -> None:
        """See Reporter."""
        self._owner.report_progress(attempt)

    def report_log(self, attempt: Attempt, level: str, message: str, context: Mapping[str, object]) -> None:
        """See Reporter."""
        self._owner.report_log(attempt, level, message, context)


def _key(wanted: _Wanted) -> str:
    """What a node is given, as one short name: equal for equal type, version, configuration, inputs and parameters."""
    launch = wanted.launch
    given = launch.node.call.given(launch.scope, launch.inputs)
    head = msgspec.json.encode([launch.node.type.name, launch.node.type.version])
    digest = hashlib.sha256()
    for part in (head, given):
        digest.update(b"%d\n" % len(part))
        digest.update(part)
    return digest.hexdigest()
