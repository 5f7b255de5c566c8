"""Facts about the fence around `http.request`."""

import ipaddress

import pytest

from weftline_executor.nodes import HttpFence
from weftline_executor.nodes.builtin.fence import is_public


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::"),
        *("64:ff9b:1::7f00:1", "64:ff9b:1::808:808", "::127.0.0.1", "::8.8.8.8", "::ffff:0:127.0.0.1", "fec0::1"),
    ],
)
def test_an_address_inside_some_network_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_without_a_list_every_host_may_be_asked_at_a_public_address() -> None:
    fence = HttpFence()
    assert fence.admits_host("example.org")
    assert fence.admits_address("8.8.8.8")
    assert not fence.admits_address("10.0.0.1")
    assert not fence.admits_address("fe80::1%eth0")


def test_private_addresses_may_be_allowed() -> None:
    assert HttpFence(allow_private=True).admits_address("10.0.0.1")


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("api.example.org", True),
        ("API.Example.Org", True),
        ("10.1.2.3", True),
        ("a.internal.test", True),
        ("internal.test", False),
        ("example.org", False),
        ("api.example.org.evil.test", False),
    ],
)
def test_with_a_list_only_the_hosts_on_it_may_be_asked(host: str, admitted: bool) -> None:
    fence = HttpFence(allowed_hosts=frozenset({"api.example.org", "10.1.2.3", "*.internal.test"}))
    assert fence.admits_host(host) is admitted
