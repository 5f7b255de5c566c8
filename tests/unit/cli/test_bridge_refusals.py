"""Why a bridge refused or ended a connection has a name, an exit code, and a word on whether to come again."""

import pytest

from weftline_bridge.protocol import names
from weftline_cli.bridge_api import bridge_socket_url
from weftline_cli.bridge_watch.refusals import FINAL_CODES, CloseCode, close_name, closed, turned_away
from weftline_cli.errors import BridgeUnavailableError, ExitCode, RefusedError, UsageError, exit_code

AGAIN = [1000, 1001, 1006, 1011, 1012, 1013, 3000, 4408, 4429, 4508]


def test_every_close_code_of_the_bridge_has_the_bridges_name() -> None:
    assert {close_name(code) for code in names.CloseCode} == {code.name.lower() for code in names.CloseCode}


@pytest.mark.parametrize("code", sorted(FINAL_CODES))
def test_what_would_happen_again_ends_the_watch_by_name(code: CloseCode) -> None:
    error = closed("ws://there/", code, "because", None)
    assert isinstance(error, RefusedError)
    assert error.reason == code.name.lower()
    assert f"{code.value} ({error.reason}): because." in str(error)
    assert exit_code(error) is ExitCode.REFUSED


@pytest.mark.parametrize("code", AGAIN)
def test_what_passes_is_tried_again(code: int) -> None:
    error = closed("ws://there/", code, "", 2.5)
    assert isinstance(error, BridgeUnavailableError)
    assert error.advice_s == 2.5
    assert f"{code}" in str(error)
    assert close_name(code) in str(error)
    assert error.asks_again is (code in (1001, 1012, 1013))


def test_an_answer_without_a_websocket_is_named_by_what_the_bridge_says_in_it() -> None:
    refused = turned_away(
        "ws://there/", 403, "Forbidden", '{"code": "foreign_host", "message": "not by this name"}', ""
    )
    assert (str(refused), getattr(refused, "reason", "")) == ("Not by this name.", "foreign_host")
    plain = turned_away("ws://there/", 401, "Unauthorized", "<html>", "")
    assert (str(plain), getattr(plain, "reason", "")) == ("401 Unauthorized.", "http_401")
    other = turned_away("ws://there/", 404, "Not Found", "", "")
    assert isinstance(other, BridgeUnavailableError)
    assert not other.asks_again


def test_a_bridge_that_is_restarting_says_when_to_come_again() -> None:
    error = turned_away("ws://there/", 503, "Service Unavailable", "the bridge is restarting", "5")
    assert isinstance(error, BridgeUnavailableError)
    assert (error.asks_again, error.advice_s) == (True, 5.0)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/"),
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/"),
        ("https://weft.example.org", "wss://weft.example.org/"),
        ("wss://weft.example.org/live", "wss://weft.example.org/live"),
        ("127.0.0.1:8080", "ws://127.0.0.1:8080/"),
        ("[::1]:8080", "ws://[::1]:8080/"),
    ],
)
def test_a_bridge_is_named_by_any_of_its_urls(given: str, url: str) -> None:
    assert bridge_socket_url(given) == url


@pytest.mark.parametrize(
    "given", ["ftp://a", "ws://", "http://a:99999999", "ws://ada:secret@a", "ws://a/?token=secret", "ws://a#secret"]
)
def test_what_is_no_url_of_a_bridge_is_bad_usage_and_no_secret_is_repeated(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        bridge_socket_url(given)
    assert "secret" not in str(caught.value)
