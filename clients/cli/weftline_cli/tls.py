"""The files of TLS that the environment names: how the executor, or the bridge, is known, and who calls it."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weftline_cli.errors import UsageError

CA: Final = "WEFTLINE_TLS_CA"
CERT: Final = "WEFTLINE_TLS_CERT"
KEY: Final = "WEFTLINE_TLS_KEY"
SERVER_NAME: Final = "WEFTLINE_TLS_SERVER_NAME"


@dataclass(frozen=True, slots=True)
class Tls:
    """The authority of the executor, and a certificate and its key where the executor asks for one, as PEM.

    `server_name` is the name in the executor's certificate, empty for that of its address.
    """

    ca: bytes
    cert: bytes | None = None
    key: bytes | None = None
    server_name: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Tls | None":
        """Return what the environment names, None for no TLS.

        Raises UsageError for files that can't be read, and for one that is named without those it belongs to.
        """
        ca, cert, key = (_content(environment, name) for name in (CA, CERT, KEY))
        if (cert is None) != (key is None):
            raise UsageError(f"{CERT} and {KEY} belong together.")
        if ca is None:
            if cert is not None:
                raise UsageError(f"{CERT} asks for {CA}, the authority of the executor.")
            return None
        return cls(ca, cert, key, environment.get(SERVER_NAME, ""))


def context_from_environment(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return how a bridge behind TLS is known: by the authorities of this system, and the one that is named.

    It is shown a certificate where one is named and it asks. Raises UsageError as `Tls.from_environment`.
    """
    context = ssl.create_default_context()
    ca, cert, key = (environment.get(name, "") for name in (CA, CERT, KEY))
    if bool(cert) != bool(key):
        raise UsageError(f"{CERT} and {KEY} belong together.")
    name, path = CA, ca
    try:
        if ca:
            context.load_verify_locations(ca)
        name, path = f"{CERT}, {KEY}", f"{cert}, {key}"
        if cert:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise UsageError(f"{name}: {path} can't be read: {error.strerror or error}.") from error
    return context


def _content(environment: Mapping[str, str], name: str) -> bytes | None:
    path = environment.get(name, "")
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{name}: {path} can't be read: {error.strerror}.") from error


def server_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name in the certificate of who is called, empty for that of the address."""
    return environment.get(SERVER_NAME, "")
