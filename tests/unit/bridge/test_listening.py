"""The sockets of several workers on one address."""

from __future__ import annotations

import socket

import pytest

from weftline_bridge.errors import ListenError
from weftline_bridge.supervisor.listening import close, listen


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=10)


def test_each_worker_has_a_socket_of_its_own_on_one_port_and_the_kernel_spreads_connections() -> None:
    workers = listen("127.0.0.1:0", "LISTEN", 3)
    (port,) = {each.getsockname()[1] for sockets in workers for each in sockets}
    clients = [connect(port) for _ in range(200)]
    accepted = []
    for (listener,) in workers:
        listener.setblocking(False)
        count = 0
        while True:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                break
            count += 1
        accepted.append(count)
    assert sum(accepted) == len(clients)
    assert min(accepted) > 20
    for sockets in (*workers, clients):
        close(sockets)


@pytest.mark.parametrize("theirs", [1, 2])
def test_an_address_that_somebody_listens_on_is_refused_by_name_even_if_they_would_share_it(theirs: int) -> None:
    taken = listen("127.0.0.1:0", "LISTEN", theirs)
    address = f"127.0.0.1:{taken[0][0].getsockname()[1]}"
    with pytest.raises(ListenError, match=r"\(WEFTLINE_BRIDGE_LISTEN\): [Aa]ddress already in use") as caught:
        listen(address, "LISTEN", 2)
    assert caught.value.address == address
    for sockets in taken:
        close(sockets)


def test_the_same_address_can_be_listened_on_again_at_once() -> None:
    first = listen("127.0.0.1:0", "LISTEN", 2)
    port = first[0][0].getsockname()[1]
    with connect(port):
        for sockets in first:
            close(sockets)
    for sockets in listen(f"127.0.0.1:{port}", "LISTEN", 2):
        close(sockets)


def test_a_name_is_listened_on_with_all_its_addresses_and_one_that_leads_nowhere_is_refused() -> None:
    workers = listen("localhost:0", "LISTEN", 2)
    hosts = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    for sockets in workers:
        assert {each.getsockname()[0] for each in sockets} == hosts
        close(sockets)
    with pytest.raises(ListenError, match=r"nowhere\.invalid:80"):
        listen("nowhere.invalid:80", "LISTEN", 2)
