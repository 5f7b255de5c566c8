"""Checks the fields of requests, so that nothing malformed gets past the face."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar

import msgspec

from weftline_executor.errors import InvalidArgument
from weftline_executor.graph.definition import MAX_DEPTH, too_deep

WORKFLOW_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MAX_PAGE = 1000
DEFAULT_PAGE = 50
DEFAULT_GRACE_MS = 30_000
MAX_GRACE_MS = 3_600_000

_T = TypeVar("_T")
_Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]


def check_id(field: str, value: str) -> str:
    """Gives a workflow id back. Raises InvalidArgument unless it is one."""
    if not WORKFLOW_ID.fullmatch(value):
        raise InvalidArgument(field, "expected 1 to 128 characters of A-Za-z0-9._:-")
    return value


def check_length(field: str, value: str, limit: int) -> str:
    """Gives a text back. Raises InvalidArgument when it is longer than `limit` characters."""
    if len(value) > limit:
        raise InvalidArgument(field, f"expected at most {limit} characters, got {len(value)}")
    return value


def check_json(field: str, value: str, limit: int) -> bytes:
    """Gives JSON text back, or nothing for nothing.

    Raises InvalidArgument when it is longer than `limit` bytes, is not JSON, or nests too deep.
    """
    body = value.encode()
    if len(body) > limit:
        raise InvalidArgument(field, f"expected at most {limit} bytes, got {len(body)}")
    try:
        deep = bool(body) and too_deep(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(field, f"expected JSON: {error}") from None
    if deep:
        raise InvalidArgument(field, f"expected at most {MAX_DEPTH} levels")
    return body


def check_enum(field: str, value: int, names: Mapping[int, str]) -> None:
    """Raises InvalidArgument for a number that the contract has no name for."""
    if value not in names:
        raise InvalidArgument(field, f"expected one of {', '.join(names.values())}, got {value}")


def enum_names(items: Iterable[tuple[str, int]]) -> dict[int, str]:
    """The names of an enumeration by number, from its `items()`."""
    return {number: name for name, number in items}


def page_size(value: int) -> int:
    """The size of a page: 50 when not set. Raises InvalidArgument over 1,000."""
    if not 0 <= value <= MAX_PAGE:
        raise InvalidArgument("page_size", f"expected 0 to {MAX_PAGE}, got {value}")
    return value or DEFAULT_PAGE


def write_token(*place: int | str) -> str:
    """An opaque token for the place in a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def read_started_token(token: str) -> tuple[int, str] | None:
    """The (started_at, run_id) in a token of ListWorkflows. Raises InvalidArgument for anything else."""
    return _read(token, tuple[_Number, str]) if token else None


def read_seq_token(token: str) -> int | None:
    """The seq in a token of ListRuns. Raises InvalidArgument for anything else."""
    return _read(token, tuple[_Number])[0] if token else None


def _read(token: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token), type=kind)
    except ValueError:
        raise InvalidArgument("page_token", "not a token that a page before gave") from None
