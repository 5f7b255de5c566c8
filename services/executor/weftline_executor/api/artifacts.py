"""Streams an artifact in pieces, as fast as whoever reads takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from weftline_executor.artifacts import Artifacts, check_uri
from weftline_executor.errors import ArtifactDamaged, ArtifactNameInvalid, InvalidArgument

PIECE_BYTES = 64 << 10
"""What one message holds at most."""

READ_BYTES = 16 * PIECE_BYTES
"""What is read at once, since each reading may be a request to another machine."""


async def pieces(artifacts: Artifacts, uri: str) -> AsyncIterator[bytes]:
    """The bytes of an artifact, in order.

    Raises InvalidArgument, ArtifactNotFound, ArtifactsUnavailable, and ArtifactDamaged when it ends too early.
    """
    try:
        check_uri(uri)
    except ArtifactNameInvalid as error:
        raise InvalidArgument("uri", str(error)) from None
    size = await artifacts.size(uri)
    for begin in range(0, size, READ_BYTES):
        read = await artifacts.read_piece(uri, begin, READ_BYTES)
        if len(read) != min(READ_BYTES, size - begin):
            raise ArtifactDamaged(uri)
        for at in range(0, len(read), PIECE_BYTES):
            yield read[at : at + PIECE_BYTES]
