"""The certificates that the executor serves with: read from files, and read again when these change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import grpc

from weftline_executor.errors import SettingInvalid
from weftline_executor.settings import PREFIX, Settings

_log = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """The files of the settings: the executor's certificate and key, and the authority of its clients, if it asks them.

    gRPC asks `changed` at each handshake, so that a certificate can be replaced without a restart.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises SettingInvalid, naming the setting, for files that can't be read or don't belong together."""
        if settings.tls_cert is None or settings.tls_key is None:
            raise SettingInvalid(f"{PREFIX}TLS_CERT: a certificate and its key belong together")
        self._cert, self._key, self._client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
        try:
            self._stamp = self._look()
            self._first = self._read()
        except (OSError, ssl.SSLError) as error:
            raise SettingInvalid(f"{PREFIX}TLS_CERT: the files of TLS can't be used: {error}") from error

    def credentials(self) -> grpc.ServerCredentials:
        """What a server is bound with; clients have to show a certificate if an authority of theirs is set."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self.changed,  # type: ignore[arg-type]  # its stubs do not know that None says that nothing has changed
            require_client_authentication=self._client_ca is not None,
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The configuration, if the files have changed since it was last read; files that can't be used are left."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return None
            found = self._read()
        except (OSError, ssl.SSLError) as error:
            _log.warning("the changed files of TLS can't be used, those before stay: %s", error)
            return None
        self._stamp = stamp
        _log.info("the certificate was replaced")
        return found

    def _files(self) -> list[Path]:
        return [self._cert, self._key, *([self._client_ca] if self._client_ca is not None else [])]

    def _look(self) -> _Stamp:
        found = [file.stat() for file in self._files()]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        # gRPC says nothing of a key that is another certificate's; every handshake would fail.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._cert, self._key)
        if self._client_ca is not None:
            context.load_verify_locations(self._client_ca)
        roots = self._client_ca.read_bytes() if self._client_ca is not None else None
        pair = (self._key.read_bytes(), self._cert.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)
