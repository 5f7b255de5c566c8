"""Builds the unmasked WebSocket frames that a server sends (RFC 6455, section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

MAX_FRAME_MESSAGES = 64
MAX_FRAME_BYTES = 32 * 1024

_FIN = 0x80
_LEN_16 = 126
_LEN_64 = 127


class Opcode(IntEnum):
    """What a frame carries."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


def frame_header(length: int, opcode: Opcode = Opcode.TEXT) -> bytes:
    """The header of a final, unmasked frame with a payload of `length` bytes (2, 4 or 10 bytes)."""
    first = _FIN | opcode
    if length < _LEN_16:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, _LEN_16)) + length.to_bytes(2, "big")
    return bytes((first, _LEN_64)) + length.to_bytes(8, "big")


_TEXT_HEADERS = tuple(frame_header(length) for length in range(2048))


def _text_header(length: int) -> bytes:
    return _TEXT_HEADERS[length] if length < len(_TEXT_HEADERS) else frame_header(length)


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """One whole frame."""
    return frame_header(len(payload), opcode) + payload


def object_frames(messages: Sequence[bytes]) -> bytes:
    """Each message in a frame of its own, all joined for one write."""
    parts: list[bytes] = []
    for message in messages:
        parts.append(_text_header(len(message)))
        parts.append(message)
    return b"".join(parts)


def array_frames(messages: Sequence[bytes]) -> bytes:
    """The messages as JSON arrays, joined for one write.

    Each array is a frame of at most 64 messages and 32 KiB; a larger message has a frame of its own.
    """
    if len(messages) <= MAX_FRAME_MESSAGES:
        body = b",".join(messages)
        if len(body) <= MAX_FRAME_BYTES or len(messages) == 1:
            return b"%b[%b]" % (_text_header(len(body) + 2), body)
    parts: list[bytes] = []
    for group in _groups(messages):
        body = b",".join(group)
        parts.append(b"%b[%b]" % (_text_header(len(body) + 2), body))
    return b"".join(parts)


def _groups(messages: Sequence[bytes]) -> list[Sequence[bytes]]:
    groups: list[Sequence[bytes]] = []
    start = size = 0
    for index, message in enumerate(messages):
        full = index - start == MAX_FRAME_MESSAGES or size + len(message) > MAX_FRAME_BYTES
        if full and index > start:
            groups.append(messages[start:index])
            start, size = index, 0
        size += len(message) + 1
    if start < len(messages):
        groups.append(messages[start:])
    return groups
