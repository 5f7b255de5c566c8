"""Keeps what nodes write as artifacts of their runs, and gives them what others have written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from weftline_executor.artifacts import Artifacts
from weftline_executor.errors import ArtifactDamaged, ArtifactError, ArtifactNameInvalid, ArtifactNotFound
from weftline_executor.nodes import NodeFailed, SecretSession

DEADLINE_SECONDS = 300.0
"""More than any single step of it may take."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ArtifactAccess:
    """What all nodes' artifacts share; `max_bytes` is what one may have."""

    artifacts: Artifacts
    loop: asyncio.AbstractEventLoop
    max_bytes: int

    def of(self, run_id: str, secrets: SecretSession) -> RunKeeper:
        """The keeper for an attempt that has these secrets."""
        return RunKeeper(self, run_id, secrets)


class RunKeeper:
    """See ArtifactKeeper; waits, in the thread of whoever calls, for what is done in the engine's event loop."""

    __slots__ = ("_access", "_run_id", "_secrets")

    def __init__(self, access: ArtifactAccess, run_id: str, secrets: SecretSession) -> None:
        self._access = access
        self._run_id = run_id
        self._secrets = secrets

    def put(self, data: bytes, content_type: str) -> dict[str, object]:
        """See ArtifactKeeper."""
        self._check_size(len(data))
        if self._secrets.found_in(data):
            raise NodeFailed("the artifact holds a secret", "secret_in_artifact", retryable=False)
        kept = self._done(self._access.artifacts.put(self._run_id, data, content_type))
        return msgspec.to_builtins(kept, str_keys=True)  # type: ignore[no-any-return]

    def get(self, uri: str) -> bytes:
        """See ArtifactKeeper."""
        return self._done(self._read(uri))

    async def _read(self, uri: str) -> bytes:
        self._check_size(await self._access.artifacts.size(uri))
        return await self._access.artifacts.read(uri)

    def _check_size(self, size: int) -> None:
        limit = self._access.max_bytes
        if size > limit:
            message = f"the artifact is {size} bytes, over the limit of {limit}"
            raise NodeFailed(message, "artifact_too_large", retryable=False)

    def _done(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._access.loop).result(DEADLINE_SECONDS)
        except ArtifactNameInvalid as error:
            raise NodeFailed(str(error), "bad_artifact", retryable=False) from None
        except (ArtifactNotFound, ArtifactDamaged) as error:
            raise NodeFailed(str(error), error.code, retryable=False) from None
        except (ArtifactError, TimeoutError) as error:
            # Why is for the executor's log: it may name a path or a bucket.
            _log.warning("an artifact of run %s could not be stored or read: %s", self._run_id, error)
            raise NodeFailed("the artifact could not be stored or read", "artifact_failed") from None
