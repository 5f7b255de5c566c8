"""The artifacts of runs: each is kept once, under its run and by its content, and goes with its run."""

from __future__ import annotations

import asyncio
import hashlib

from weftline_executor.artifacts.files import Files
from weftline_executor.artifacts.names import Name, check_run, parse
from weftline_executor.errors import ArtifactDamaged, ArtifactNameInvalid, ArtifactNotFound
from weftline_executor.model.artifact import JSON, Artifact

_RUNS = "runs"


class Artifacts:
    """Artifacts over some files. All methods may raise ArtifactsUnavailable.

    Those that take a uri raise ArtifactNameInvalid when it is none, those that read ArtifactNotFound when it is gone.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    async def put(self, run_id: str, body: bytes, content_type: str = JSON) -> Artifact:
        """Keeps bytes for a run; when this returns they are durable."""
        name = Name(run_id, await asyncio.to_thread(_digest, body))
        await self._files.write(f"{_RUNS}/{name.path}", body)
        return Artifact(name.uri, len(body), name.sha256, content_type)

    async def read(self, uri: str) -> bytes:
        """The whole of an artifact. Raises ArtifactDamaged when it is no longer what was put."""
        name = parse(uri)
        body = await self._files.read(f"{_RUNS}/{name.path}")
        if body is None:
            raise ArtifactNotFound(uri)
        if await asyncio.to_thread(_digest, body) != name.sha256:
            raise ArtifactDamaged(uri)
        return body

    async def read_piece(self, uri: str, offset: int, length: int) -> bytes:
        """At most `length` bytes of an artifact from `offset`, which is at most its size."""
        piece = await self._files.read(f"{_RUNS}/{parse(uri).path}", offset, length)
        if piece is None:
            raise ArtifactNotFound(uri)
        return piece

    async def size(self, uri: str) -> int:
        """The size of an artifact in bytes."""
        size = await self._files.size(f"{_RUNS}/{parse(uri).path}")
        if size is None:
            raise ArtifactNotFound(uri)
        return size

    async def copy(self, artifact: Artifact, to_run: str) -> Artifact:
        """Keeps an artifact for another run too, which then does not need the first."""
        return await self.put(to_run, await self.read(artifact.uri), artifact.content_type)

    async def delete_run(self, run_id: str) -> None:
        """Deletes all artifacts of a run, if it has any."""
        await self._files.delete_folder(f"{_RUNS}/{check_run(run_id)}")

    async def runs(self) -> list[str]:
        """The runs that have artifacts, or had some once."""
        return [name for name in await self._files.folders(_RUNS) if _is_run(name)]


def _is_run(name: str) -> bool:
    try:
        check_run(name)
    except ArtifactNameInvalid:
        return False
    return True


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
