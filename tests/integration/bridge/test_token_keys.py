"""Where the keys of tokens come from: documents that change, issuers that are away, and settings that are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import RunningBridge, running_bridge
from tests.support.scripted_executor import running_executor
from tests.support.tokens import SECRET, Issuer, bearer, ec_key, jwk, rsa_key, running_issuer, signed, token
from weftline_bridge.app.lifecycle import Bridge
from weftline_bridge.auth.tokens import TokenHeader
from weftline_bridge.errors import ConfigurationError, KeysUnavailableError, TokenRefusedError
from weftline_bridge.session import keys
from weftline_bridge.session.keys import JwksSource
from weftline_bridge.settings import load_settings

Trust = tuple[Issuer, RunningBridge]


@contextlib.asynccontextmanager
async def trusting(*known: dict[str, Any], away: bool = False, **settings: Any) -> AsyncIterator[Trust]:
    """A bridge that takes tokens by the keys of an issuer."""
    async with running_issuer(*known) as issuer, running_executor() as executor:
        issuer.away = away
        async with running_bridge(executor, auth_jwks=issuer.url, **settings) as bridge:
            yield issuer, bridge


async def refresh(bridge: RunningBridge) -> None:
    """Have the keys read now."""
    source = bridge.bridge.gatekeeper.keys
    assert source is not None
    await source.refresh()


async def status(bridge: RunningBridge, text: str) -> int:
    """What the API answers to a token."""
    async with bridge.http.get(bridge.url + "/api/connections", headers=bearer(text)) as response:
        return response.status


async def test_keys_come_from_an_address_and_a_new_one_is_found_when_a_token_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "MIN_PAUSE", 0.0)
    async with trusting(jwk(rsa_key(), "one")) as (issuer, bridge):
        assert await status(bridge, signed(rsa_key(), "one")) == 200
        issuer.keys = [jwk(rsa_key(), "one"), jwk(ec_key(), "two")]
        assert await status(bridge, signed(ec_key(), "two")) == 200
        assert issuer.reads == 2
        assert await status(bridge, token()) == 401


async def test_a_withdrawn_key_is_not_good_any_more() -> None:
    async with trusting(jwk(rsa_key(), "one")) as (issuer, bridge):
        assert await status(bridge, signed(rsa_key(), "one")) == 200
        issuer.keys = [jwk(ec_key(), "two")]
        await refresh(bridge)
        assert await status(bridge, signed(rsa_key(), "one")) == 401


async def test_the_keys_are_read_again_from_time_to_time() -> None:
    async with trusting(jwk(rsa_key(), "one"), auth_jwks_refresh=1.0) as (issuer, bridge):
        await bridge.eventually(lambda: issuer.reads >= 2)


async def test_known_keys_stay_while_the_issuer_is_away_and_an_unknown_one_is_no_fault_of_the_client() -> None:
    async with trusting(jwk(rsa_key(), "one")) as (issuer, bridge):
        issuer.away = True
        await refresh(bridge)
        assert await status(bridge, signed(rsa_key(), "one")) == 200
        assert await status(bridge, signed(ec_key(), "two")) == 503
        client = await bridge.connect(headers=bearer(signed(ec_key(), "two")))
        assert await client.close_code() == 1013


async def test_a_bridge_starts_while_the_issuer_is_away_and_lets_nobody_in_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "MIN_PAUSE", 0.0)
    async with trusting(jwk(rsa_key(), "one"), away=True) as (issuer, bridge):
        assert await status(bridge, signed(rsa_key(), "one")) == 503
        issuer.away = False
        assert await status(bridge, signed(rsa_key(), "one")) == 200


async def test_tokens_with_unknown_keys_can_not_make_the_bridge_ask_the_issuer_again_and_again() -> None:
    async with trusting(jwk(rsa_key(), "one")) as (issuer, bridge):
        for number in range(20):
            assert await status(bridge, signed(ec_key(), f"made-up-{number}")) == 401
        assert issuer.reads == 1


async def test_all_who_wait_for_a_key_share_one_read() -> None:
    reads = 0
    go = asyncio.Event()

    async def fetch() -> bytes:
        nonlocal reads
        reads += 1
        await go.wait()
        return json.dumps({"keys": [jwk(rsa_key(), "one")]}).encode()

    source = JwksSource(fetch, min_pause=0.0)
    header = TokenHeader("RS256", "one")
    waiting = [asyncio.create_task(source.find(header)) for _ in range(50)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    go.set()
    assert {(await task).key_id for task in waiting} == {"one"}
    assert reads == 1


async def test_a_source_that_does_not_answer_is_given_up_after_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0.05)
    never = asyncio.Event()

    async def fetch() -> bytes:
        await never.wait()
        return b""

    with pytest.raises(KeysUnavailableError):
        await JwksSource(fetch).find(TokenHeader("RS256", "one"))


@pytest.mark.parametrize("document", ["", "{}", '{"keys": []}', " " * (keys.MAX_DOCUMENT_BYTES + 1)])
async def test_a_document_that_is_none_leaves_the_keys_as_they_were(tmp_path: Path, document: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(rsa_key(), "one")]}))
    async with running_executor() as executor, running_bridge(executor, auth_jwks=str(file)) as bridge:
        file.write_text(document)
        await refresh(bridge)
        assert await status(bridge, signed(rsa_key(), "one")) == 200


async def test_a_redirect_of_the_issuer_is_not_followed() -> None:
    async with running_issuer(jwk(rsa_key(), "one")) as issuer:
        issuer.redirect = issuer.url
        source = JwksSource(lambda: keys._download(issuer.url))
        with pytest.raises(KeysUnavailableError):
            await source.find(TokenHeader("RS256", "one"))


async def test_a_secret_comes_from_a_file_without_the_end_of_its_line(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    async with running_executor() as executor, running_bridge(executor, auth_secret_file=file) as bridge:
        assert await status(bridge, token()) == 200
        with pytest.raises(TokenRefusedError):
            await bridge.bridge.gatekeeper.check(token(secret=SECRET + "x"))


@pytest.mark.parametrize(
    ("settings", "named", "problem"),
    [
        ({"auth_secret": "short"}, "AUTH_SECRET", "at least 32 bytes"),
        ({"auth_secret": "", "auth_secret_file": ""}, "AUTH_SECRET", "at least 32 bytes"),
        ({"auth_secret_file": "/nowhere"}, "AUTH_SECRET_FILE", "can't be read"),
        ({"auth_secret": SECRET, "auth_jwks": "https://id.example/keys"}, "AUTH_JWKS", "only one of it and"),
        ({"auth_jwks": "http://id.example/keys"}, "AUTH_JWKS", "https://"),
        ({"auth_jwks": "https://ada:pass@id.example/keys"}, "AUTH_JWKS", "without a user"),
        ({"auth_secret": SECRET, "auth_cookie": "c", "allowed_origins": "*"}, "AUTH_COOKIE", "not *"),
    ],
)
async def test_settings_that_would_be_unsafe_are_refused_by_name(
    settings: dict[str, Any], named: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Bridge(load_settings(**settings))
    assert raised.value.setting == f"WEFTLINE_BRIDGE_{named}"
    assert problem in raised.value.problem
    assert "pass" not in str(raised.value)
    assert (settings.get("auth_secret") or "?") not in str(raised.value)
