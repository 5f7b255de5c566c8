"""Which hosts a request may go to, so that a workflow cannot reach into the network that the executor stands in."""

import ipaddress
import socket
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import AddrInfoType, ClientHandlerType, ClientRequest, ClientResponse

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Addresses of IPv4 as a translator writes them in IPv6.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

# Python calls these global, but each leads into a local network: a translator of one's own, addresses that hold one of
# IPv4 (compatible, translated), and the site-local ones.
_LOCAL = tuple(ipaddress.ip_network(block) for block in ("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "fec0::/10"))


class OutsideFence(OSError):
    """A request was going to a host or an address that it may not reach."""


@dataclass(frozen=True, slots=True)
class HttpFence:
    """The hosts that `http.request` may reach.

    With `allowed_hosts` (names or addresses, `*.example.org` for all below a domain) only those, wherever they are;
    without, any public address. `allow_private` adds loopback, private and link-local addresses.
    """

    allowed_hosts: frozenset[str] = frozenset()
    allow_private: bool = False

    def admits_host(self, host: str) -> bool:
        """Say whether a host may be asked at all."""
        return not self.allowed_hosts or self.names(host)

    def names(self, host: str) -> bool:
        """Say whether a host is one of `allowed_hosts`."""
        return any(fnmatchcase(host.lower(), pattern.lower()) for pattern in self.allowed_hosts)

    def admits_address(self, address: str) -> bool:
        """Say whether an address may be reached under a host name that is not in `allowed_hosts`."""
        return self.allow_private or is_public(ipaddress.ip_address(address.partition("%")[0]))


def is_public(address: Address) -> bool:
    """Say whether an address is one of the public internet, also when it is an IPv4 address within an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.sixtofour is not None:
            return is_public(address.sixtofour)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if any(address in block for block in _LOCAL):
            return False
    return address.is_global and not address.is_multicast


class FenceGuard:
    """Holds one request, with its redirects, inside a fence: a middleware and a socket factory of aiohttp's client.

    The address is checked where the socket is made, so that a name cannot resolve to another one after its check.
    """

    def __init__(self, fence: HttpFence) -> None:
        self._fence = fence
        self._host = ""

    async def check_host(self, request: "ClientRequest", handler: "ClientHandlerType") -> "ClientResponse":
        """Refuse a host, at each hop; raises `OutsideFence`."""
        self._host = request.url.host or ""
        if not self._fence.admits_host(self._host):
            raise OutsideFence(f"{self._host} is not one of WEFTLINE_EXECUTOR_HTTP_ALLOWED_HOSTS")
        return await handler(request)

    def make_socket(self, info: "AddrInfoType") -> socket.socket:
        """Make a socket for an address; raises `OutsideFence`."""
        family, kind, protocol, _, target = info
        address = str(target[0])
        if not self._fence.names(self._host) and not self._fence.admits_address(address):
            raise OutsideFence(
                f"{self._host} is at {address}, which is not public (WEFTLINE_EXECUTOR_HTTP_ALLOW_PRIVATE)"
            )
        return socket.socket(family, kind, protocol)
