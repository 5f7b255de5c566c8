"""Decides whether a web page of some origin may connect."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Same-origin pages, the listed origins, and clients that are no browsers may connect.

    So may a page of any port of this machine to a bridge that is addressed as this machine: that is how a canvas is
    developed. A foreign page can't pose as one, whatever its name resolves to, since its origin keeps its name.
    """

    origins: frozenset[str] = frozenset()
    any_origin: bool = False

    @classmethod
    def parse(cls, text: str) -> OriginPolicy:
        """Read a comma separated list of origins; `*` allows any.

        Raises ValueError for an entry that is not `scheme://host[:port]`.
        """
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        listed = [entry for entry in entries if entry != "*"]
        for entry in listed:
            parts = urlsplit(entry)
            if not parts.scheme or not parts.hostname or parts.path.strip("/") or parts.query:
                raise ValueError(f"expected scheme://host[:port], got {entry!r}")
        return cls(frozenset(_normal(entry) for entry in listed), any_origin="*" in entries)

    def allows(self, origin: str | None, host: str, *, neighbours: bool = True) -> bool:
        """Whether a request with these `Origin` and `Host` headers may connect.

        A request without an `Origin` does not come from a web page and is allowed. Without `neighbours`, pages of other
        ports of this machine are not.
        """
        if origin is None or self.any_origin:
            return True
        try:
            parts = urlsplit(origin)
            port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
            wanted = urlsplit(f"//{host}")
            same = parts.hostname is not None and (parts.hostname, port) == (
                wanted.hostname,
                wanted.port or _DEFAULT_PORTS.get(parts.scheme),
            )
            local = neighbours and parts.hostname in _LOOPBACK and wanted.hostname in _LOOPBACK
            return same or local or _normal(origin) in self.origins
        except ValueError:
            return False

    def names_host(self, host: str) -> bool:
        """Whether a `Host` header is an address, `localhost`, or the host of a listed origin."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if (
                self.any_origin
                or name in _LOOPBACK
                or any(urlsplit(origin).hostname == name for origin in self.origins)
            ):
                return True
            ip_address(name)
        except ValueError:
            return False
        return True


def _normal(origin: str) -> str:
    parts = urlsplit(origin)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"
