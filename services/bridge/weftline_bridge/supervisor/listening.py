"""Binds the address for clients once for each worker, so that the kernel spreads connections over them.

The supervisor holds the sockets. What waits in the queue of a worker that died is therefore not lost, but served by the
one that is started in its place.
"""

from __future__ import annotations

import contextlib
import socket
import sys

from weftline_bridge.errors import ListenError
from weftline_bridge.settings import ENV_PREFIX, split_address

BACKLOG = 4096

_Host = tuple[int, str]


def listen(address: str, setting: str, count: int) -> list[list[socket.socket]]:
    """The sockets of `count` workers, for each as many as the host has addresses.

    Where the kernel does not spread connections over sockets of one address, all workers share the same. Raises
    ListenError, also when another program of the same user listens in this way.
    """
    host, port = split_address(address)
    spreads = sys.platform == "linux"
    bound: list[list[socket.socket]] = []
    try:
        if port:
            close(_bind(_resolve(host), port, shared=False))
        for _ in range(count if spreads else 1):
            bound.append(_bind(_resolve(host), port, shared=spreads))
            port = bound[0][0].getsockname()[1]
    except OSError as error:
        for sockets in bound:
            close(sockets)
        raise ListenError(ENV_PREFIX + setting, address, error.strerror or str(error)) from error
    return bound if spreads else bound * count


def close(sockets: list[socket.socket]) -> None:
    """Close them all."""
    for each in sockets:
        each.close()


def _resolve(host: str) -> list[_Host]:
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(at[0])) for family, _, _, _, at in found))


def _bind(hosts: list[_Host], port: int, *, shared: bool) -> list[socket.socket]:
    """One listening socket for each address, on one port, which the first decides if it is 0."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for family, host in hosts:
            each = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind((host, port))
            each.listen(BACKLOG)
            port = each.getsockname()[1]
            sockets.append(each)
        stack.pop_all()
        return sockets
