"""Answers of the HTTP face: JSON, and problems with a code for programs and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A value as JSON."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def problem(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """What is wrong, as `{code, message}`."""
    return json_answer({"code": code, "message": message}, status, headers)
