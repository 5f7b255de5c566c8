"""The socket of a client: what is written arrives whole and in order, however little the client takes at a time."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from weftline_bridge.frames import Incoming, Opcode, Received
from weftline_bridge.session.socket import ClientSocket

PATIENCE = 20.0
MOST = 1000
PING = bytes((0x89, 0x80, 0, 0, 0, 0))


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[Received] = []
        self.told: list[str] = []
        self.over = asyncio.Event()

    def received(self, messages: Sequence[Received], incoming: Incoming) -> None:
        self.messages += messages

    def filled(self) -> None:
        self.told.append("filled")

    def emptied(self) -> None:
        self.told.append("emptied")

    def ended(self) -> None:
        self.told.append("ended")
        self.over.set()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ClientSocket, Heard, socket.socket]]:
    """A client's socket as the bridge has it, who listens to it, and the other end."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Before(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(cast(asyncio.Transport, transport))

    server = await loop.create_server(Before, "127.0.0.1", 0)
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    other.setblocking(False)
    try:
        async with asyncio.timeout(PATIENCE):
            await loop.sock_connect(other, server.sockets[0].getsockname())
            transport = await made
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        heard, ours = Heard(), ClientSocket(transport, MOST)
        ours.listen(heard)
        yield ours, heard, other
        transport.abort()
        async with asyncio.timeout(PATIENCE):
            await heard.over.wait()
    finally:
        other.close()
        server.close()


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 30_000), st.none()), max_size=30))
def test_all_that_is_written_arrives_in_order(factory: type, story: list[int | None]) -> None:
    """A number is how many bytes are written, None lets the other end take some."""

    async def run() -> None:
        async with connected() as (ours, heard, other):
            loop = asyncio.get_running_loop()
            written, arrived = b"", b""
            for step, size in enumerate(story):
                if size is None:
                    while len(arrived) < len(written) - 8192:
                        arrived += await loop.sock_recv(other, 4096)
                    continue
                data = bytes((step,)) * size
                ours.write(data)
                written += data
            while len(arrived) < len(written):
                arrived += await loop.sock_recv(other, 65536)
            assert arrived == written
            while ours.full:
                await asyncio.sleep(0)
            assert ours.buffered() == 0
            assert heard.told == ["filled", "emptied"] * (len(heard.told) // 2)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())


async def test_it_says_when_the_kernel_takes_no_more_and_when_it_has_taken_all() -> None:
    async with connected() as (ours, heard, other):
        while not ours.full:
            ours.write(b"x" * 4096)
        assert heard.told == ["filled"]
        assert ours.buffered() > 0
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while ours.full:
                await loop.sock_recv(other, 65536)
        assert heard.told == ["filled", "emptied"]


async def test_a_socket_that_is_gone_has_no_descriptor_and_takes_what_is_written_without_a_word() -> None:
    async with connected() as (ours, heard, other):
        other.close()
        async with asyncio.timeout(PATIENCE):
            await heard.over.wait()
        assert ours.fd == -1
        assert heard.told == ["ended"]
        # The number may be another client's by now.
        reader, writer = os.pipe()
        ours.write(b"for somebody else")
        os.close(writer)
        assert os.read(reader, 100) == b""
        os.close(reader)


async def test_the_descriptor_is_given_up_before_it_can_be_another_clients() -> None:
    async with connected() as (ours, heard, _):
        number = ours.fd
        ours.abort()
        while ours.fd >= 0:
            os.fstat(number)
            await asyncio.sleep(0)
        assert heard.told == ["ended"]


async def test_messages_are_told_and_nothing_is_answered_by_itself() -> None:
    async with connected() as (ours, heard, other):
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(other, PING)
        async with asyncio.timeout(PATIENCE):
            while not heard.messages:
                await asyncio.sleep(0)
        assert heard.messages == [Received(Opcode.PING, b"")]
        assert ours.incoming.answers() == bytes((0x8A, 0))
        assert ours.incoming.answers() == b""
