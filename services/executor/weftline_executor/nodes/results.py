"""What a node may return besides a JSON value."""

import msgspec


class Branch(msgspec.Struct, frozen=True):
    """Says which output handle fires, and with what; every other handle of the node is not taken."""

    handle: str
    output: object = None
