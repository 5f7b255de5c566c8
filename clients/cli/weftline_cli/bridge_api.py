"""Asks the bridge over HTTP: who is connected, and what its flight recorder holds."""

import json
import os
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from weftline_cli import text
from weftline_cli.errors import BridgeUnavailableError, NotFoundError, RefusedError, UsageError

DEFAULT_BRIDGE: Final = "http://127.0.0.1:8080"
TOKEN_VARIABLE: Final = "WEFTLINE_TOKEN"  # noqa: S105 - the name of a variable
DEADLINE_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def bridge_url(given: str) -> str:
    """Return the URL of a bridge without a path, as http or https; raises UsageError when it is something else."""
    parts = urlsplit(given if "://" in given else f"http://{given}")
    if parts.scheme not in _SCHEMES or not parts.netloc or parts.username is not None:
        raise UsageError(f"--bridge (or WEFTLINE_BRIDGE) takes a URL as {DEFAULT_BRIDGE}, not {given!r}.")
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}"


def bridge_headers() -> dict[str, str]:
    """Return the headers that say who asks: a token from the environment, if there is one there."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


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

    def workflow(self, workflow_id: str) -> Mapping[str, Any]:
        """Return what is recorded of a workflow."""
        return self._get(f"/api/recorder/workflows/{quote(workflow_id, safe='')}")

    def _get(self, path: str) -> Mapping[str, Any]:
        request = Request(self.url + path, headers=bridge_headers())  # noqa: S310 - bridge_url lets in http and https only
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
