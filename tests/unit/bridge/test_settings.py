"""Settings: defaults, the environment, and one named error for a wrong one."""

from __future__ import annotations

import pytest

from weftline_bridge.errors import ConfigurationError
from weftline_bridge.settings import Settings, is_loopback, load_settings, split_address


def test_the_defaults_listen_on_loopback_only() -> None:
    settings = Settings()
    assert (settings.listen, settings.metrics_listen, settings.executor) == (
        "127.0.0.1:8080",
        "127.0.0.1:9101",
        "127.0.0.1:50051",
    )


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_environment_is_read_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFTLINE_BRIDGE_MAX_CONNECTIONS", "7")
    monkeypatch.setenv("WEFTLINE_BRIDGE_LISTEN", "[::1]:1234")
    assert load_settings().max_connections == 7
    assert load_settings(listen="127.0.0.1:0").listen == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("name", "value"), [("LISTEN", "8080"), ("CHANNELS", "0"), ("LOG_LEVEL", "chatty"), ("OUTBOX_MAX_BYTES", "1.5")]
)
def test_a_wrong_setting_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"WEFTLINE_BRIDGE_{name}", value)
    with pytest.raises(ConfigurationError) as raised:
        load_settings()
    assert raised.value.setting == f"WEFTLINE_BRIDGE_{name}"
    assert value in raised.value.problem


@pytest.mark.parametrize(
    ("address", "parts"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("a.b:65535", ("a.b", 65535))]
)
def test_addresses_are_split(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", ":80", "host", "host:", "host:-1", "host:65536", "host:\uff18\uff10"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        split_address(address)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *(("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("LocalHost", True)),
        *(
            ("0.0.0.0", False),
            ("::", False),
            ("10.0.0.1", False),
            ("localhost.example", False),
            ("127.0.0.1.nip", False),
        ),
    ],
)
def test_only_addresses_of_this_machine_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFTLINE_BRIDGE_AUTH_SECRET", "sesame")
    assert "sesame" not in repr(load_settings())
    with pytest.raises(ConfigurationError) as raised:
        load_settings(auth_secret=["sesame"])
    assert "sesame" not in str(raised.value)
