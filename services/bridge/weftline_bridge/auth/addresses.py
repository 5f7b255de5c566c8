"""Which address a client has, behind proxies that are trusted to say so, and which addresses count as one client's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

MAX_HOPS = 32
_IPV6_CLIENT_BITS = 64


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Networks of proxies whose `X-Forwarded-For` is believed; anyone else could write into it what they like."""

    networks: Sequence[IPv4Network | IPv6Network] = ()

    @classmethod
    def parse(cls, text: str) -> TrustedProxies:
        """Read addresses and networks, separated by commas. Raises ValueError for an entry that is neither."""
        return cls(tuple(ip_network(entry.strip()) for entry in text.split(",") if entry.strip()))

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """The address of a client: `peer`, or what trusted proxies say in their `X-Forwarded-For` headers.

        Each proxy adds whom it heard from at the end, so that these are read from there up to the first that is not
        trusted. What stands before it comes from the client itself.
        """
        client = peer
        hops = [hop.strip() for header in forwarded_for for hop in header.split(",")]
        for hop in reversed(hops[-MAX_HOPS:]):
            if not self._trusts(client):
                break
            address = _address(hop)
            if address is None:
                break
            client = str(address)
        return client

    def _trusts(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self.networks)


def origin_of(address: str) -> str | None:
    """What connections are counted by: an IPv4 address, or the /64 that an IPv6 client has to itself.

    None for this machine and for what is no address, such as a local socket: nobody is limited by these.
    """
    found = _address(address)
    if found is None or found.is_loopback:
        return None
    if isinstance(found, IPv6Address):
        return str(ip_network((found, _IPV6_CLIENT_BITS), strict=False))
    return str(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
