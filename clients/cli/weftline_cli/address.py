"""Where a service is: a host and a port, read from and written as `HOST:PORT`."""

from dataclasses import dataclass
from typing import Final, Self

from weftline_cli.errors import UsageError

_LOOPBACKS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - this is where to dial, not to listen


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens; `host` is without the brackets of IPv6."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, option: str) -> Self:
        """Read `HOST:PORT`; raises UsageError, naming `option`, when it is something else or the port is 0."""
        host, _, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not bare or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise UsageError(f"{option} takes HOST:PORT with a port from 1 to 65535, not {text!r}.")
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dial(self) -> "Address":
        """Where to reach it from this machine: the loopback when it listens everywhere."""
        return Address(_LOOPBACKS.get(self.host, self.host), self.port)
