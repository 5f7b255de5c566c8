"""Settings of the bridge, read from `WEFTLINE_BRIDGE_*` environment variables and checked at start-up."""

from __future__ import annotations

import math
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from weftline_bridge.errors import ConfigurationError

ENV_PREFIX = "WEFTLINE_BRIDGE_"
_SECRETS = frozenset({"auth_secret"})


def split_address(address: str) -> tuple[str, int]:
    """Split `host:port` (IPv6 hosts in brackets) into its parts.

    Raises ValueError when the host is empty or the port is not 0-65535.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected host:port with a port of 0-65535, got {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what listens on `host`; of names only `localhost`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _address(value: str) -> str:
    split_address(value)
    return value


Address = Annotated[str, AfterValidator(_address)]
OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: value or None)]


class Settings(BaseSettings):
    """Everything that an operator can set; names in the environment begin with `WEFTLINE_BRIDGE_`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    listen: Address = Field("127.0.0.1:8080", description="Address for browsers: WebSocket, API and probes.")
    metrics_listen: Address = Field("127.0.0.1:9101", description="Address for Prometheus.")
    executor: Address = Field("127.0.0.1:50051", description="Address of the executor's gRPC service.")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that share the connections, each with about one core's worth of work. "
        "From two on a supervisor starts them again when they end and tells their metrics as one.",
    )
    tls_ca: OptionalPath = Field(
        None, description="Authority (PEM) of the executor's certificate; if empty it is called without TLS."
    )
    tls_cert: OptionalPath = Field(None, description="Certificate (PEM) that the bridge shows to the executor.")
    tls_key: OptionalPath = Field(None, description="Key of that certificate.")
    tls_server_name: str = Field("", description="Name in the executor's certificate, if not that of its address.")
    tls_refresh: float = Field(
        30.0, gt=0, description="Time between two looks whether these files changed, in seconds."
    )
    allowed_origins: str = Field(
        "",
        description="Origins (scheme://host:port, comma separated) that may connect besides the own one; * for any.",
    )
    auth_secret: SecretStr | None = Field(
        None, description="Secret of at least 32 bytes that tokens are signed with (HS256); better in a file."
    )
    auth_secret_file: OptionalPath = Field(None, description="File with that secret; read at the start.")
    auth_jwks: str = Field(
        "", description="Public keys of tokens (RS256, ES256): a JWKS document, as an https:// address or a file."
    )
    auth_jwks_refresh: float = Field(300.0, ge=1, description="Time between two reads of the keys, in seconds.")
    auth_issuer: str = Field("", description="The `iss` that a token has to have; any if empty.")
    auth_audience: str = Field("", description="The `aud` that a token has to be for; any if empty.")
    auth_leeway: float = Field(10.0, ge=0, le=300, description="How far clocks may be apart, in seconds.")
    auth_cookie: str = Field("", description="Cookie that may hold the token; none if empty.")
    auth_timeout: float = Field(
        5.0, gt=0, le=60, description="Time in which a client without a token has to send one, in seconds."
    )
    auth_grace: float = Field(
        25.0, ge=0, le=300, description="Time for which a connection outlives its token, without commands, in seconds."
    )
    allow_anonymous: bool = Field(
        False,
        description="Whether anyone who reaches a public address may watch and control everything, without a token.",
    )
    max_connections: int = Field(
        10_000, ge=1, description="WebSocket connections at one time; shared out evenly among the workers."
    )
    max_connections_per_address: int = Field(
        1000,
        ge=0,
        description="WebSocket connections at one time from one address but this machine's; 0 for any number. "
        "Shared out evenly among the workers.",
    )
    trusted_proxies: str = Field(
        "",
        description="Addresses and networks (comma separated) of proxies that tell a client's address "
        "in `X-Forwarded-For`.",
    )
    accept_rate: float = Field(
        1000.0,
        gt=0,
        description="WebSocket connections accepted in a second, on average; shared out evenly among the workers.",
    )
    command_rate: float = Field(100.0, gt=0, description="Commands of one connection in a second, on average.")
    command_burst: int = Field(200, ge=1, description="Commands of one connection at once.")
    max_message_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024, description="Size of one message of a client, in bytes."
    )
    max_subscriptions: int = Field(256, ge=1, description="Workflows that one connection may subscribe to.")
    heartbeat_interval: float = Field(25.0, gt=0, description="Time between two heartbeats, in seconds.")
    heartbeat_timeout: float = Field(
        8.0, gt=0, description="Time after a ping in which a client has to send something, in seconds."
    )
    status_interval: float = Field(15.0, gt=0, description="Time between two system.status messages, in seconds.")
    outbox_max_bytes: int = Field(
        1024 * 1024, ge=4096, description="Bytes that may wait for one slow connection before it is closed."
    )
    stall_seconds: float = Field(
        30.0, gt=0, description="Time in which a slow connection has to take something, in seconds."
    )
    ring_max_events: int = Field(4096, ge=1, description="Newest events kept per workflow for those who resume.")
    ring_max_bytes: int = Field(1024 * 1024, ge=1024, description="Bytes of events kept per workflow.")
    ring_max_age: float = Field(300.0, gt=0, description="Age of the oldest event kept per workflow, in seconds.")
    linger_seconds: float = Field(
        30.0, ge=0, description="Time for which a workflow is still watched after its last reader left, in seconds."
    )
    channels: int = Field(2, ge=1, le=64, description="gRPC connections of each worker to the executor.")
    command_timeout: float = Field(10.0, gt=0, description="Time in which a command has to be answered, in seconds.")
    recorder: bool = Field(True, description="Whether the flight recorder records.")
    recorder_keep_seconds: float = Field(
        300.0, ge=0, description="Time for which the record of an ended connection is kept, in seconds."
    )
    drain_seconds: float = Field(10.0, ge=0, description="Time for connections to close at shutdown, in seconds.")
    tracing: bool = Field(
        False, description="Whether spans of clients' commands are sent over OTLP; takes the extra `otel`."
    )
    tracing_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the traces that begin here which is recorded, 0 to 1."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least serious log written.")
    log_format: Literal["text", "json"] = Field("text", description="Form of the log on standard error.")

    def share(self, workers: int) -> Settings:
        """The settings of one of so many workers, whose limits are its share of those for all; rounded up."""
        return self.model_copy(
            update={
                "max_connections": math.ceil(self.max_connections / workers),
                "max_connections_per_address": math.ceil(self.max_connections_per_address / workers),
                "accept_rate": self.accept_rate / workers,
            }
        )


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; `overrides` (from the command line) win.

    Raises ConfigurationError naming the first environment variable that is wrong.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "*"
        shown = "" if field in _SECRETS else f" (got {first['input']!r})"
        raise ConfigurationError(ENV_PREFIX + field.upper(), first["msg"] + shown) from None
