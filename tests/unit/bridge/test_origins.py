"""Origins: the own, the listed, none, and everything else."""

from __future__ import annotations

import pytest

from weftline_bridge.auth import OriginPolicy


@pytest.mark.parametrize(
    ("allowed", "origin", "host", "expected"),
    [
        ("", None, "weft.example", True),
        ("", "http://weft.example", "weft.example", True),
        ("", "http://weft.example:80", "weft.example", True),
        ("", "https://weft.example", "weft.example:443", True),
        ("", "http://weft.example:8080", "weft.example:8080", True),
        ("", "http://weft.example:8081", "weft.example:8080", False),
        ("", "http://evil.example", "weft.example", False),
        ("", "http://weft.example.evil.example", "weft.example", False),
        ("", "http://[::1]:8080", "[::1]:8080", True),
        ("", "null", "weft.example", False),
        ("", "", "weft.example", False),
        ("", "http://weft.example:port", "weft.example", False),
        ("https://a.example,https://b.example:8443", "https://b.example:8443", "weft.example", True),
        ("https://a.example", "https://a.example:443", "weft.example", True),
        ("https://a.example", "http://a.example", "weft.example", False),
        ("*", "https://anything.example", "weft.example", True),
    ],
)
def test_origins(allowed: str, origin: str | None, host: str, expected: bool) -> None:
    assert OriginPolicy.parse(allowed).allows(origin, host) is expected


@pytest.mark.parametrize("text", ["example.org", "https://a.example/path", "https://", "https://a.example?x"])
def test_an_entry_that_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected scheme"):
        OriginPolicy.parse(text)
