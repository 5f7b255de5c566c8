"""What a node keeps beside its output: bytes of any kind, by a reference that is JSON and can be passed on."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

from weftline_executor.nodes.errors import NodeFailed

BINARY = "application/octet-stream"
MAX_CONTENT_TYPE = 256


class ArtifactKeeper(Protocol):
    """Where artifacts are kept; called in a thread, which it may hold up."""

    def put(self, data: bytes, content_type: str) -> dict[str, object]:
        """Keep bytes and give the reference; raises `NodeFailed`."""

    def get(self, uri: str) -> bytes:
        """Give the bytes of an artifact; raises `NodeFailed`."""


class NodeArtifacts:
    """The artifacts of a node's run, and through their references those that other nodes have written.

    A reference is `{"uri", "size", "sha256", "contentType"}`; it can be part of the node's output, and others read the
    bytes through it. In an `async def` use `awrite` and `aread`, since the others would hold up the event loop.
    """

    __slots__ = ("_keeper",)

    def __init__(self, keeper: ArtifactKeeper) -> None:
        self._keeper = keeper

    @property
    def keeper(self) -> ArtifactKeeper:
        """Where they are kept."""
        return self._keeper

    def write(self, data: bytes, content_type: str = BINARY) -> dict[str, object]:
        """Keep bytes for as long as the run is kept, and give the reference.

        Raises `NodeFailed` with the code `artifact_too_large`, `artifact_failed` when they can't be stored, or
        `secret_in_artifact` when they hold a secret that the node has read; `TypeError` or `ValueError` for bad
        arguments, `RuntimeError` in an event loop.
        """
        _refuse_event_loop("awrite")
        return self._keeper.put(*_checked(data, content_type))

    def read(self, reference: Mapping[str, object] | str) -> bytes:
        """Give the bytes behind a reference or a uri.

        Raises `NodeFailed` with the code `bad_artifact` when it is none, `artifact_not_found` when there is none (any
        more), `artifact_too_large`, or `artifact_failed` when it can't be read; `RuntimeError` in an event loop.
        """
        _refuse_event_loop("aread")
        return self._keeper.get(_uri(reference))

    async def awrite(self, data: bytes, content_type: str = BINARY) -> dict[str, object]:
        """Do as `write` does, from an event loop."""
        return await asyncio.to_thread(self._keeper.put, *_checked(data, content_type))

    async def aread(self, reference: Mapping[str, object] | str) -> bytes:
        """Do as `read` does, from an event loop."""
        return await asyncio.to_thread(self._keeper.get, _uri(reference))


def _refuse_event_loop(instead: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"this would hold up the event loop; write `await ctx.artifacts.{instead}(…)`")


def _checked(data: object, content_type: object) -> tuple[bytes, str]:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"an artifact is made of bytes, not {type(data).__name__}")
    if not isinstance(content_type, str) or not content_type.isprintable() or len(content_type) > MAX_CONTENT_TYPE:
        raise ValueError(f"a content type is a text of at most {MAX_CONTENT_TYPE} characters")
    return bytes(data), content_type


def _uri(reference: object) -> str:
    uri = reference.get("uri") if isinstance(reference, Mapping) else reference
    if not isinstance(uri, str):
        raise NodeFailed("this is not the reference of an artifact", "bad_artifact", retryable=False)
    return uri
