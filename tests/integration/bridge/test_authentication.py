"""Who may connect when tokens are asked for: by header, cookie or first message, for as long as the token is good."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support import events
from tests.support.bridge import Client, RunningBridge, running_bridge
from tests.support.scripted_executor import running_executor
from tests.support.tokens import SECRET, bearer, permitting, token

PAGE = "https://console.example"
AUTH: dict[str, Any] = {"auth_secret": SECRET}
COOKIE: dict[str, Any] = {**AUTH, "auth_cookie": "weftline", "allowed_origins": PAGE}


async def refresh(client: Client, text: str) -> dict[str, Any]:
    """Send a token; the answer."""
    message_id = await client.send("auth.refresh", payload={"token": text})
    return await client.until(lambda message: message["payload"].get("commandId") == message_id)


async def outcome(bridge: RunningBridge, dialect: str, headers: dict[str, str]) -> tuple[str, int]:
    """What a client gets first, or the code that it is closed with."""
    client = await bridge.connect(dialect, headers=headers)
    try:
        return (await client.next())["type"], 0
    except ConnectionError:
        return "", client.ws.close_code or 0


@pytest.mark.parametrize(("dialect", "first"), [("weftline.v1", "connection.ready"), ("plain", "system.status")])
async def test_a_token_in_the_header_lets_a_client_in(dialect: str, first: str) -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        assert await outcome(bridge, dialect, bearer(token())) == (first, 0)
        assert await bridge.metric("weftline_bridge_tokens_total", outcome="accepted") == 1


@pytest.mark.parametrize("dialect", ["weftline.v1", "plain"])
@pytest.mark.parametrize(
    ("header", "code"),
    [
        (f"Bearer {token(secret='x' * 40)}", "token_signature"),
        (f"Bearer {token(exp=1)}", "token_expired"),
        ("Bearer nonsense", "token_malformed"),
        ("Bearer ", "token_malformed"),
        ("Basic YWRhOmFkYQ==", "token_malformed"),
    ],
)
async def test_a_token_that_is_not_good_is_closed_with_4401_and_its_name(dialect: str, header: str, code: str) -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(dialect, headers={"Authorization": header})
        received = await client.ws.receive()
        assert client.ws.close_code == 4401
        assert str(received.extra).startswith(code)


async def test_a_plain_client_without_a_token_is_closed_with_4401() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        assert await outcome(bridge, "plain", {}) == ("", 4401)


async def test_a_token_that_permits_nothing_is_closed_with_4403() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        assert await outcome(bridge, "plain", bearer(permitting())) == ("", 4403)
        client = await bridge.connect()
        assert (await refresh(client, permitting()))["payload"]["code"] == "forbidden"
        assert await client.close_code() == 4403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [(PAGE, ("connection.ready", 0)), ("https://evil.example", ("", 4403)), (None, ("", 4401))],
    ids=["own page", "foreign page", "no page"],
)
async def test_a_cookie_lets_in_only_pages_that_may_connect(origin: str | None, expected: tuple[str, int]) -> None:
    async with running_executor() as executor, running_bridge(executor, **COOKIE) as bridge:
        headers = {"Cookie": f"weftline={token()}", **({"Origin": origin} if origin else {})}
        assert await outcome(bridge, "weftline.v1", headers) == expected


async def test_a_page_of_another_port_of_this_machine_can_not_use_the_cookie() -> None:
    async with running_executor() as executor, running_bridge(executor, **COOKIE) as bridge:
        headers = {"Cookie": f"weftline={token()}", "Origin": "http://127.0.0.1:1"}
        assert await outcome(bridge, "weftline.v1", headers) == ("", 4401)


async def test_a_cookie_is_not_looked_at_unless_it_is_set() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH, allowed_origins=PAGE) as bridge:
        assert await outcome(bridge, "plain", {"Cookie": f"weftline={token()}", "Origin": PAGE}) == ("", 4401)


async def test_a_token_in_the_url_is_not_looked_at() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        ws = await bridge.http.ws_connect(f"{bridge.url}/?token={token()}&access_token={token()}")
        await ws.receive()
        assert ws.close_code == 4401


async def test_a_v1_client_may_send_its_token_first_and_is_told_nothing_before() -> None:
    settings = {**AUTH, "heartbeat_interval": 0.25, "heartbeat_timeout": 60.0, "status_interval": 0.05}
    async with running_executor() as executor, running_bridge(executor, **settings) as bridge:
        seen_by_others = await bridge.connect(headers=bearer(token()))
        client = await bridge.connect()
        ready = await client.next()
        assert ready["payload"]["authTimeout"] == 5000
        assert "sessionTtl" not in ready["payload"]
        executor.append("wf", events.start("a"))
        for _ in range(3):
            await seen_by_others.of_type("heartbeat")
        accepted = await refresh(client, token())
        assert client.types_seen()[:2] == ["connection.ready", "command.accepted"]
        assert 3_590_000 < accepted["payload"]["sessionTtl"] <= 3_600_000
        assert (await client.next())["type"] == "system.status"
        assert (await client.subscribe("wf"))["payload"]["outcome"] == "snapshot"


async def test_what_is_sent_right_after_the_token_waits_for_its_answer() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect()
        await client.send("auth.refresh", payload={"token": token()})
        assert (await client.subscribe("wf"))["type"] == "workflow.subscribed"


async def test_a_first_message_other_than_a_token_is_closed_with_4401() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect()
        message_id = await client.send("workflow.start", "wf", {"nodes": [], "edges": []})
        rejected = await client.of_type("command.rejected")
        assert (rejected["payload"]["code"], rejected["payload"]["commandId"]) == ("unauthenticated", message_id)
        assert await client.close_code() == 4401
        assert executor.commands == []


async def test_a_first_token_that_is_not_good_is_named_and_closed_with_4401() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect()
        assert (await refresh(client, token(exp=1)))["payload"]["code"] == "token_expired"
        assert await client.close_code() == 4401


async def test_a_client_that_sends_no_token_in_time_is_closed_with_4401() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH, auth_timeout=0.1) as bridge:
        client = await bridge.connect()
        assert await client.close_code() == 4401
        assert client.types_seen() == ["connection.ready"]


def later(bridge: RunningBridge, seconds: float) -> None:
    """Let the bridge check tokens as it will in so many seconds."""
    bridge.bridge.gatekeeper.clock = lambda: time.time() + seconds


async def test_a_token_is_replaced_before_it_ends_without_a_new_connection() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(headers=bearer(token(exp=time.time() + 600)))
        assert 590_000 < (await client.next())["payload"]["sessionTtl"] <= 600_000
        await client.subscribe("wf")
        other = await bridge.connect(headers=bearer(token(exp=time.time() + 600)))
        assert (await refresh(client, token()))["type"] == "command.accepted"
        later(bridge, 700)
        assert await other.close_code() == 4401
        executor.append("wf", events.start("a"))
        assert await client.seqs("wf", 1) == [1]


async def test_an_expired_token_still_shows_events_but_permits_no_command_until_the_grace_is_over() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH, auth_grace=120.0) as bridge:
        client = await bridge.connect(headers=bearer(token(exp=time.time() + 600)))
        await client.subscribe("wf")
        later(bridge, 620)
        await client.send("workflow.start", "wf", {"nodes": [], "edges": []})
        assert (await client.of_type("command.rejected"))["payload"]["code"] == "unauthenticated"
        executor.append("wf", events.start("a"))
        assert await client.seqs("wf", 1) == [1]
        assert (await refresh(client, token()))["type"] == "command.accepted"
        await client.send("workflow.stop", "wf")
        assert (await client.of_type("command.accepted", "command.rejected"))["type"] == "command.accepted"
        later(bridge, 3800)
        assert await client.close_code() == 4401


async def test_a_token_of_somebody_else_does_not_replace_the_first() -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(headers=bearer(token("ada")))
        assert (await refresh(client, token("grace")))["payload"]["code"] == "token_subject"
        assert (await refresh(client, "nonsense"))["payload"]["code"] == "token_malformed"
        await client.send("workflow.start", "wf", {"nodes": [], "edges": []})
        await client.of_type("command.accepted")
        assert executor.commands[0].by == "ada"


@pytest.mark.parametrize("dialect", ["weftline.v1", "plain"])
async def test_commands_are_by_the_subject_of_the_token_whatever_the_client_says(dialect: str) -> None:
    async with running_executor() as executor, running_bridge(executor, **AUTH) as bridge:
        client = await bridge.connect(dialect, headers=bearer(token("ada")))
        await client.send("workflow.start", "wf", {"nodes": [], "edges": [], "by": "root", "config": {}}, by="root")
        await bridge.eventually(lambda: bool(executor.commands))
        assert executor.commands[0].by == "ada"
