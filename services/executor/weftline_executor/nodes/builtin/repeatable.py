"""The setting of a node that only its author can know: whether it may run twice."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from weftline_executor.nodes.node_type import Idempotency

Repeatable = Annotated[
    bool,
    Field(
        description="Whether it may run again by itself if the executor died while it ran; "
        "if not, the run pauses until a person decides."
    ),
]


def idempotency_of(data: Mapping[str, object]) -> Idempotency:
    """Give what the setting `repeatable` says; what an expression will say is not known, so it says no."""
    return "safe" if data.get("repeatable") is True else "unsafe"
