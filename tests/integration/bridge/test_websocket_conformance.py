"""RFC 6455 on a bare socket: what a client may do works, and what it must not do ends with the right close code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bridge import RunningBridge, eventually, running_bridge
from tests.support.raw_client import BINARY, CLOSE, PING, PONG, TEXT, RawClient, frame
from tests.support.scripted_executor import running_executor

CONTINUATION, RESERVED_DATA, RESERVED_CONTROL = 0x0, 0x3, 0xB
SUBSCRIBE = b'{"id":"s","type":"workflow.subscribe","workflowId":"wf"}'
LIMIT = 4096


def closing(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(code.to_bytes(2, "big") + reason, CLOSE)


async def with_client(
    test: Callable[[RunningBridge, RawClient], Awaitable[None]], early: bytes = b"", later: bytes = b""
) -> None:
    """Run a test with a client of a bridge that takes messages of up to 4,096 bytes.

    The client sends `early` along with its handshake, and `later` once that is answered.
    """
    async with running_executor() as executor, running_bridge(executor, max_message_bytes=LIMIT) as bridge:
        client = await RawClient.connect(bridge.bridge.address, early=early)
        try:
            await client.send(later)
            await test(bridge, client)
            await eventually(lambda: len(bridge.bridge.registry) == 0)
        finally:
            client.close()


async def leave(client: RawClient) -> None:
    """Close as one should; the bridge answers."""
    await client.send(closing(1000))
    assert (await client.read_to_end())[1] == 1000


async def test_a_message_in_fragments_with_control_frames_between_them_is_one_message() -> None:
    async def test(_: RunningBridge, client: RawClient) -> None:
        await client.send(frame(SUBSCRIBE[:5], TEXT, fin=False))
        await client.send(frame(b"one", PING))
        await client.send(frame(SUBSCRIBE[5:20], CONTINUATION, fin=False))
        await client.send(frame(b"two", PING) + frame(b"", PONG))
        await client.send(frame(b"", CONTINUATION, fin=False))
        await client.send(frame(SUBSCRIBE[20:], CONTINUATION))
        await client.read_until(lambda: b"workflow.subscribed" in client.received)
        assert [payload for opcode, payload in client.frames() if opcode == PONG] == [b"one", b"two"]
        await leave(client)

    await with_client(test)


async def test_a_message_that_comes_byte_by_byte_is_a_message() -> None:
    async def test(_: RunningBridge, client: RawClient) -> None:
        for byte in frame(SUBSCRIBE):
            await client.send(bytes((byte,)))
        await client.read_until(lambda: b"workflow.subscribed" in client.received)
        await leave(client)

    await with_client(test)


@pytest.mark.parametrize("sent_early", [1, 7, len(frame(SUBSCRIBE))])
async def test_what_comes_along_with_the_handshake_is_taken_like_what_comes_later(sent_early: int) -> None:
    async def test(_: RunningBridge, client: RawClient) -> None:
        await client.read_until(lambda: b"workflow.subscribed" in client.received)
        await leave(client)

    sent = frame(SUBSCRIBE)
    await with_client(test, early=sent[:sent_early], later=sent[sent_early:])


async def test_what_is_wrong_with_what_comes_along_with_the_handshake_ends_the_connection() -> None:
    async def test(_: RunningBridge, client: RawClient) -> None:
        assert (await client.read_to_end())[1] == 1002
        client.close()

    await with_client(test, early=frame(SUBSCRIBE, masked=False))


async def test_a_client_that_is_not_let_in_is_told_why_whatever_it_sent_along() -> None:
    async with running_executor() as executor, running_bridge(executor, max_connections=1) as bridge:
        await (await bridge.connect()).next()
        client = await RawClient.connect(bridge.bridge.address, early=frame(SUBSCRIBE))
        try:
            assert (await client.read_to_end())[1] == 1013
        finally:
            client.close()


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 4999])
async def test_a_close_is_answered_by_a_close(code: int) -> None:
    async def test(_: RunningBridge, client: RawClient) -> None:
        await client.send(closing(code, "bye ✓".encode()))
        assert (await client.read_to_end())[1] in (1000, code)

    await with_client(test)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(closing(999), 1002, id="a close code below 1000"),
        pytest.param(closing(1004), 1002, id="a reserved close code"),
        pytest.param(closing(1005), 1002, id="a close code that is never sent"),
        pytest.param(closing(1006), 1002, id="another close code that is never sent"),
        pytest.param(closing(2999), 1002, id="an unassigned close code"),
        pytest.param(closing(5000), 1002, id="a close code above 4999"),
        pytest.param(frame(b"\x03", CLOSE), 1002, id="half a close code"),
        pytest.param(closing(1000, b"\xff"), 1007, id="a close reason that is not UTF-8"),
        pytest.param(frame(b"x" * 126, PING), 1002, id="a control frame of more than 125 bytes"),
        pytest.param(frame(b"x", PING, fin=False), 1002, id="a fragmented control frame"),
        pytest.param(frame(b"{}", TEXT, reserved=4), 1002, id="a reserved bit, that of compression"),
        pytest.param(frame(b"{}", TEXT, reserved=2), 1002, id="the second reserved bit"),
        pytest.param(frame(b"{}", TEXT, reserved=1), 1002, id="the third reserved bit"),
        pytest.param(frame(b"", PING, reserved=1), 1002, id="a reserved bit on a ping"),
        pytest.param(frame(b"{}", RESERVED_DATA), 1002, id="an unknown kind of data frame"),
        pytest.param(frame(b"", RESERVED_CONTROL), 1002, id="an unknown kind of control frame"),
        pytest.param(frame(b"{}", CONTINUATION), 1002, id="a continuation of nothing"),
        pytest.param(
            frame(b"{", TEXT, fin=False) + frame(b"}", TEXT), 1002, id="a new message in the middle of another"
        ),
        pytest.param(frame(b'{"\xff":1}', TEXT), 1007, id="text that is not UTF-8"),
        pytest.param(
            frame(b'"\xe2\x9c', TEXT, fin=False) + frame(b'"', CONTINUATION), 1007, id="half a character at the end"
        ),
        pytest.param(frame(b" " * (LIMIT + 1)), 1009, id="a message over the limit"),
        pytest.param(frame(b" " * (LIMIT * 8)), 1009, id="a message far over the limit"),
        pytest.param(
            frame(b" " * LIMIT * 3, TEXT, fin=False) + frame(b" " * LIMIT * 3, CONTINUATION),
            1009,
            id="a message far over the limit in fragments",
        ),
        pytest.param(frame(SUBSCRIBE, masked=False), 1002, id="a frame without a mask"),
        pytest.param(b"\x81\xff" + (1 << 62).to_bytes(8, "big") + b"mask", 1009, id="a header that says 4 EiB"),
        pytest.param(frame(b"x", BINARY) * 3, 4400, id="binary messages, three in a row"),
    ],
)
async def test_what_a_client_must_not_do_ends_the_connection_with_the_right_code(sent: bytes, code: int) -> None:
    async def test(_: RunningBridge, client: RawClient) -> None:
        await client.send(sent)
        assert (await client.read_to_end())[1] == code
        client.close()

    await with_client(test)


async def test_a_client_that_goes_on_sending_what_is_not_taken_still_sees_why_it_is_closed() -> None:
    async def test(_: RunningBridge, client: RawClient) -> None:
        sending = asyncio.create_task(client.send(frame(b" " * 20_000_000)))
        assert (await client.read_to_end())[1] == 1009
        await sending
        client.close()

    await with_client(test)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noise=st.one_of(
        st.binary(max_size=200),
        st.builds(
            b"".join,
            st.lists(
                st.builds(
                    frame,
                    st.one_of(st.binary(max_size=60), st.text(max_size=30).map(str.encode), st.just(SUBSCRIBE)),
                    st.integers(0, 15),
                    fin=st.booleans(),
                    reserved=st.integers(0, 7),
                    masked=st.booleans(),
                ),
                max_size=6,
            ),
        ),
    )
)
def test_noise_on_a_socket_hurts_nobody_else(noise: bytes) -> None:
    async def run() -> None:
        async with running_executor() as executor, running_bridge(executor, max_message_bytes=LIMIT) as bridge:
            other = await bridge.connect()
            client = await RawClient.connect(bridge.bridge.address)
            await client.send(noise)
            client.close()
            assert (await other.subscribe("wf"))["payload"]["outcome"] == "gone"
            await eventually(lambda: len(bridge.bridge.registry) == 1)

    asyncio.run(run())
