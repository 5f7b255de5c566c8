"""Asks the bridge over HTTP: who is connected, and what its flight recorder holds."""

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from weftline_cli import text
from weftline_cli.errors import BridgeUnavailableError, NotFoundError, RefusedError, UsageError
from weftline_cli.token import TokenSource

DEFAULT_BRIDGE: Final = "http://127.0.0.1:8080"
DEADLINE_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SOCKET_SCHEMES: Final = {"http": "ws", "https": "wss"}


def bridge_url(given: str) -> str:
    """Return the URL of a bridge without a path, as http or https; raises UsageError when it is something else."""
    parts = _parts(given)
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}"


def bridge_socket_url(given: str) -> str:
    """Return the URL of a bridge's WebSocket, as ws or wss, with the path that was given.

    Raises UsageError when it is something else, or holds what belongs in no URL, as a token.
    """
    parts = _parts(given)
    if parts.query or parts.fragment:
        raise UsageError("--bridge takes a URL without ? and #; a token comes by --token-file or WEFTLINE_TOKEN.")
    return f"{_SOCKET_SCHEMES[_SCHEMES[parts.scheme]]}://{parts.netloc}{parts.path or '/'}"


def _parts(given: str) -> SplitResult:
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(f"--bridge (or WEFTLINE_BRIDGE) takes a URL as {DEFAULT_BRIDGE}, not {_shown(given)!r}.")
    return parts


def _shown(given: str) -> str:
    """Return what was given without what somebody may have put into it to say who they are."""
    scheme, separator, rest = given.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


class _NoRedirect(HTTPRedirectHandler):
    """Follows nobody elsewhere: the token is for the bridge alone."""

    def redirect_request(self, *_arguments: object, **_others: object) -> None:
        """Take a redirect for the refusal that it is."""


class BridgeApi:
    """The HTTP face of the bridge at `url`.

    Every method raises BridgeUnavailableError when there is no answer within 10 s or none that can be read,
    NotFoundError for what the bridge does not know, and RefusedError with the bridge's code for anything else that it
    says no to.
    """

    def __init__(self, url: str) -> None:
        self.url = bridge_url(url)
        self._opener = build_opener(_NoRedirect())

    def connections(self) -> list[Mapping[str, Any]]:
        """Return who is connected."""
        found: list[Mapping[str, Any]] = self._get("/api/connections")["connections"]
        return found

    def connection(self, connection_id: str) -> Mapping[str, Any]:
        """Return what is recorded of a connection."""
        return self._get(f"/api/recorder/connections/{quote(connection_id, safe='')}")

    def workflow(self, workflow_id: str, connection_id: str = "") -> Mapping[str, Any]:
        """Return what is recorded of a workflow; given a connection, only by the worker of the bridge that has it."""
        beside = f"?connection={quote(connection_id, safe='')}" if connection_id else ""
        return self._get(f"/api/recorder/workflows/{quote(workflow_id, safe='')}{beside}")

    def _get(self, path: str) -> Mapping[str, Any]:
        request = Request(self.url + path, headers=TokenSource.choose().headers())  # noqa: S310 - bridge_url lets in http and https only
        try:
            with self._opener.open(request, timeout=DEADLINE_S) as response:
                found = json.loads(response.read(MAX_ANSWER_BYTES))
        except HTTPError as error:
            raise _refusal(error) from error
        except (URLError, OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise BridgeUnavailableError(self.url, text.with_full_stop(str(reason))) from error
        if not isinstance(found, dict):
            raise BridgeUnavailableError(self.url, "it did not answer as a bridge does.")
        return found


def _refusal(error: HTTPError) -> NotFoundError | RefusedError:
    """Return the error for an answer with a bad status, by what the bridge says in it."""
    try:
        said = json.loads(error.read(64 * 1024))
        code, message = str(said["code"]), str(said["message"])
    except (ValueError, TypeError, KeyError, OSError):
        code, message = "", f"the answer was {error.code} {error.reason}"
    sentence = text.sentence(text.one_line(message))
    return NotFoundError(sentence) if error.code == 404 else RefusedError(sentence, code)
