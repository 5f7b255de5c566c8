"""A value that is kept beside the log, as events and nodes name it."""

from __future__ import annotations

from msgspec import Struct

JSON = "application/json"


class Artifact(Struct, frozen=True, rename="camel", gc=False):
    """Where a value is kept: its `uri`, its `size` in bytes, the `sha256` of them in hexadecimal, its media type."""

    uri: str
    size: int
    sha256: str
    content_type: str = JSON
