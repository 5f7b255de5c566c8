"""How the bridge knows the executor, and shows itself to it: the files of TLS, read again when they change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from weftline_bridge.errors import ConfigurationError
from weftline_bridge.settings import ENV_PREFIX, Settings

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The authority of the executor, and the bridge's own certificate and key where the executor asks for one.

    `server_name` is the name in the executor's certificate, empty for that of its address.
    """

    ca: Path
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""

    @classmethod
    def of(cls, settings: Settings) -> TlsFiles | None:
        """Those of the settings; None where the executor is called without TLS.

        Raises ConfigurationError for files that can't be read, and for one that is set without those it belongs to.
        """
        if (settings.tls_cert is None) != (settings.tls_key is None):
            raise ConfigurationError(ENV_PREFIX + "TLS_CERT", "a certificate and its key belong together")
        if settings.tls_ca is None:
            if settings.tls_cert is not None:
                raise ConfigurationError(ENV_PREFIX + "TLS_CA", "it has to be set where there is a certificate")
            return None
        files = cls(settings.tls_ca, settings.tls_cert, settings.tls_key, settings.tls_server_name)
        for name in ("ca", "cert", "key"):
            file = getattr(files, name)
            try:
                if file is not None and b"-----BEGIN " not in file.read_bytes():
                    raise ConfigurationError(f"{ENV_PREFIX}TLS_{name.upper()}", "the file is not in the form of PEM")
            except OSError as error:
                problem = f"the file can't be read: {error.strerror}"
                raise ConfigurationError(f"{ENV_PREFIX}TLS_{name.upper()}", problem) from None
        return files

    def stamp(self) -> _Stamp:
        """Something that is another when a file has changed. Raises OSError."""
        stats = [file.stat() for file in (self.ca, self.cert, self.key) if file is not None]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def credentials(self) -> grpc.ChannelCredentials:
        """What a channel is made with. Raises OSError."""
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            self.key.read_bytes() if self.key is not None else None,
            self.cert.read_bytes() if self.cert is not None else None,
        )
