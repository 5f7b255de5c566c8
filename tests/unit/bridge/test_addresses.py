"""Addresses: whom a proxy may speak for, and what counts as one client."""

from __future__ import annotations

import pytest

from weftline_bridge.auth import TrustedProxies, origin_of


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ("", "10.0.0.1", ["203.0.113.9"], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.0/8", "198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("10.0.0.0/8", "10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", ["6.6.6.6, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.1", ["203.0.113.9, nonsense"], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", ["nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("fd00::/8, 10.0.0.1", "fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("10.0.0.0/8", "", ["203.0.113.9"], ""),
    ],
)
def test_only_trusted_proxies_say_who_a_client_is(trusted: str, peer: str, forwarded: list[str], client: str) -> None:
    assert TrustedProxies.parse(trusted).client(peer, forwarded) == client


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_an_entry_that_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"appear to be|host bits"):
        TrustedProxies.parse(text)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9%eth0", "2001:db8:1:2::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        ("", None),
    ],
)
def test_connections_are_counted_by_what_one_client_has_to_itself(address: str, origin: str | None) -> None:
    assert origin_of(address) == origin
