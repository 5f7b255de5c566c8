"""Outputs that are too large for an event: stored before the event that names them, and loaded for who reads them."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from weftline_executor.artifacts import Artifacts, preview
from weftline_executor.engine.errands import Errands
from weftline_executor.engine.outcome import Failure, Success
from weftline_executor.errors import ArtifactDamaged, ArtifactError, ArtifactNotFound
from weftline_executor.model.artifact import Artifact

MAX_CACHED_BYTES = 64 << 20
"""How much JSON text the values have together that are kept decoded."""

_BROKEN = Failure("a large output could not be handled; the executor's log says why", "internal")
_log = logging.getLogger(__name__)


class LargeOutputs:
    """Keeps outputs of more than `limit` bytes as artifacts; of what was read, the newest stay decoded in memory.

    `max_bytes` is what an output may have at most.
    """

    def __init__(self, artifacts: Artifacts, errands: Errands, limit: int, max_bytes: int) -> None:
        self.limit = limit
        self.max_bytes = max_bytes
        self._artifacts = artifacts
        self._errands = errands
        self._decoded: OrderedDict[str, tuple[int, object]] = OrderedDict()
        self._decoded_bytes = 0
        self._loading: dict[str, asyncio.Task[object]] = {}

    def too_large(self, success: Success) -> bool:
        """Whether an output has to be kept as an artifact before an event can tell of it."""
        return len(success.output) > self.limit and success.artifact is None

    def keep(self, run_id: str, success: Success, done: Callable[[Success | Failure], None]) -> None:
        """Stores an output and calls `done` with the success as it goes into an event, or with why that failed."""
        self._errands.run(f"keep an output of {run_id}", self._keep(run_id, success, done), lambda: done(_BROKEN))

    def load(self, wanted: Mapping[str, Artifact], done: Callable[[Mapping[str, object] | Failure], None]) -> None:
        """Reads values and calls `done` with them, by the same names, or with why that failed."""
        self._errands.run(f"load {', '.join(wanted)}", self._load(wanted, done), lambda: done(_BROKEN))

    async def copy(self, wanted: Sequence[Artifact], to_run: str) -> dict[str, Artifact]:
        """Copies of artifacts for another run, by the uri of the first; raises ArtifactError."""
        return {artifact.uri: await self._artifacts.copy(artifact, to_run) for artifact in wanted}

    async def _keep(self, run_id: str, success: Success, done: Callable[[Success | Failure], None]) -> None:
        try:
            artifact = await self._artifacts.put(run_id, success.output)
        except ArtifactError as error:
            _log.warning("an output of run %s could not be stored: %s", run_id, error)
            done(Failure("the output could not be stored; the executor's log says why", "artifact_failed"))
            return
        shown = await asyncio.to_thread(preview, success.output)
        done(msgspec.structs.replace(success, output=shown, artifact=artifact))

    async def _load(
        self, wanted: Mapping[str, Artifact], done: Callable[[Mapping[str, object] | Failure], None]
    ) -> None:
        try:
            values = await self.values(wanted)
        except ArtifactError as error:
            _log.warning("an output that a node reads could not be loaded: %s", error)
            gone = isinstance(error, ArtifactNotFound | ArtifactDamaged)
            why = str(error) if gone else "an output could not be loaded; the executor's log says why"
            done(Failure(why, "artifact_failed", retryable=not gone))
            return
        done(values)

    async def values(self, wanted: Mapping[str, Artifact]) -> dict[str, object]:
        """The values by the same names. Raises the ArtifactError of the first, when none is being read any more."""
        reads = (self._value(artifact) for artifact in wanted.values())
        values = await asyncio.gather(*reads, return_exceptions=True)
        for value in values:
            if isinstance(value, BaseException):
                raise value
        return dict(zip(wanted, values, strict=True))

    async def _value(self, artifact: Artifact) -> object:
        found = self._decoded.get(artifact.sha256)
        if found is not None:
            self._decoded.move_to_end(artifact.sha256)
            return found[1]
        loading = self._loading.get(artifact.sha256)
        if loading is None:
            loading = self._loading[artifact.sha256] = asyncio.create_task(self._read(artifact), name=artifact.uri)
            loading.add_done_callback(lambda _: self._loading.pop(artifact.sha256, None))
        return await loading

    async def _read(self, artifact: Artifact) -> object:
        body = await self._artifacts.read(artifact.uri)
        value = await asyncio.to_thread(msgspec.json.decode, body)
        self._remember(artifact, value)
        return value

    def _remember(self, artifact: Artifact, value: object) -> None:
        if artifact.size > MAX_CACHED_BYTES:
            return
        self._decoded[artifact.sha256] = artifact.size, value
        self._decoded_bytes += artifact.size
        while self._decoded_bytes > MAX_CACHED_BYTES:
            _, (size, _) = self._decoded.popitem(last=False)
            self._decoded_bytes -= size
