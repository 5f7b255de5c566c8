"""The executor's configuration: environment variables, checked at start-up."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from weftline_executor.errors import SettingInvalid

PREFIX = "WEFTLINE_EXECUTOR_"
DEFAULT_LLM_BASE_URL = "https://api.openai.com/v1"

OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: value or None)]


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what listens on `host`; of names only `localhost`."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Settings(BaseSettings):
    """All settings of the executor; the environment variable of each is `WEFTLINE_EXECUTOR_` and its name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    listen: str = Field("127.0.0.1:50051", description="Address of the gRPC server.")
    metrics_listen: str = Field("127.0.0.1:9102", description="Address of the Prometheus endpoint.")
    tls_cert: OptionalPath = Field(
        None, description="Certificate (PEM) of the gRPC server; read again when it changes."
    )
    tls_key: OptionalPath = Field(None, description="Key of that certificate.")
    tls_client_ca: OptionalPath = Field(
        None, description="Authority (PEM) by which a client has to show a certificate; if empty none has to."
    )
    tls_client_names: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names, separated by commas, of which a client's certificate has to have one, as its common name "
        "or an alternative name; any will do if empty.",
    )
    allow_plaintext: bool = Field(
        False, description="Whether the gRPC server may listen without TLS where other machines reach it."
    )
    data_dir: Path = Field(Path(".weftline"), description="Directory of the event log; made if missing.")
    store: Literal["sqlite", "memory"] = Field(
        "sqlite", description="Where the event log is kept; `memory` forgets everything at exit."
    )
    nodes: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Python modules with node types to load, separated by commas."
    )
    enable_nodes: Annotated[tuple[Literal["python", "command"], ...], NoDecode] = Field(
        (),
        description="Built-in node types that run code or programs as the executor's user, and so are off otherwise: "
        "`python`, `command`, separated by commas.",
    )
    concurrency: int = Field(256, ge=1, le=10_000, description="Nodes that may run at once, over all runs.")
    max_runs: int = Field(10_000, ge=1, description="Runs that may be active at once.")
    max_nodes: int = Field(100_000, ge=1, description="Nodes that one workflow may have.")
    max_edges: int = Field(500_000, ge=1, description="Edges that one workflow may have.")
    max_definition_bytes: int = Field(16 << 20, ge=1024, description="Size limit of one workflow definition, in bytes.")
    max_output_bytes: int = Field(64 << 20, ge=64, description="Size limit of one node's output as JSON, in bytes.")
    artifact_bytes: int = Field(
        32 << 10, ge=4096, le=48 << 10, description="Size over which an output is kept beside the log, in bytes."
    )
    max_artifact_bytes: int = Field(
        64 << 20, ge=1024, description="Size limit of one artifact that a node writes or reads, in bytes."
    )
    artifacts_url: str = Field(
        "",
        description="Where large values are kept, as a URL that fsspec knows, such as `s3://bucket/prefix`; "
        "if empty, in `artifacts` below the data directory, or with the store `memory` in memory.",
    )
    cache_days: float = Field(
        30.0, gt=0, description="Days for which the results of nodes with `policy.cache` are kept at most."
    )
    cache_bytes: int = Field(
        1 << 30, ge=1 << 20, description="Size of all kept results over which the oldest are deleted, in bytes."
    )
    retention_days: float = Field(7.0, gt=0, description="Days after which the events of an ended run may be deleted.")
    retention_runs: int = Field(100, ge=1, description="Ended runs that are kept of one workflow.")
    retention_bytes: int = Field(
        8 << 30, ge=1 << 20, description="Size of all events over which the oldest ended runs are deleted, in bytes."
    )
    heartbeat_seconds: float = Field(5.0, gt=0, le=60, description="Silence after which a watch gets a heartbeat.")
    blocked_loop_seconds: float = Field(
        5.0, gt=0, description="Time after which an async node that blocks its event loop is failed."
    )
    process_workers: int = Field(
        0, ge=0, le=256, description="Worker processes at most, for nodes that run in one; 0 for one a CPU."
    )
    process_memory_mb: int = Field(
        512, ge=0, le=1 << 20, description="Memory that a node in a worker process may take, in MiB; 0 for no limit."
    )
    process_cpu_seconds: int = Field(
        0, ge=0, le=86_400, description="Computing time of a node in a worker process, in seconds; 0 for no limit."
    )
    process_environment: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Environment variables that programs of nodes see besides the basic ones; `AWS_*` is a pattern."
    )
    shutdown_seconds: float = Field(10.0, ge=0, le=300, description="Time for calls in flight at shutdown.")
    secrets_dir: Path | None = Field(None, description="Directory of files with secrets, one a file, for nodes.")
    http_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Only hosts that nodes may reach over HTTP, separated by commas; `*.example.org` is a pattern."
    )
    http_allow_private: bool = Field(
        False, description="Whether nodes may reach loopback and private addresses over HTTP."
    )
    llm_base_url: str = Field(
        DEFAULT_LLM_BASE_URL,
        description="The API that `llm.chat` asks by default; another than the default may be at a private address.",
    )
    llm_key_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts that `llm.chat` sends keys to beside that of `llm_base_url`, separated by commas."
    )
    tracing: bool = Field(
        False, description="Whether spans of commands, runs and attempts are sent over OTLP; takes the extra `otel`."
    )
    tracing_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the traces that begin here which is recorded, 0 to 1."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["text", "json"] = Field("text", description="Form of the log on stderr.")

    @field_validator(
        *("nodes", "http_allowed_hosts", "llm_key_hosts", "process_environment", "enable_nodes", "tls_client_names"),
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("llm_base_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        # A port that is none raises a ValueError of its own.
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError("expected an address that begins with http:// or https://")
        return value

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError(f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY belong together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError(f"{PREFIX}TLS_CLIENT_CA asks for {PREFIX}TLS_CERT")
        if self.tls_client_names and self.tls_client_ca is None:
            raise ValueError(f"{PREFIX}TLS_CLIENT_NAMES asks for {PREFIX}TLS_CLIENT_CA")
        if self.tls_cert is None and not self.allow_plaintext and not is_loopback(self.listen.rpartition(":")[0]):
            raise ValueError(
                f"{PREFIX}LISTEN: other machines reach {self.listen}, and anyone there could read and control "
                f"everything: set {PREFIX}TLS_CERT, {PREFIX}TLS_KEY and {PREFIX}TLS_CLIENT_CA, "
                f"or {PREFIX}ALLOW_PLAINTEXT=true"
            )
        return self

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise ValueError("expected HOST:PORT")
        return value


def load_settings(**overrides: object) -> Settings:
    """Reads the settings from the environment; `overrides` (by field name) come from the command line.

    Raises SettingInvalid, naming every faulty environment variable.
    """
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        # What is wrong with several settings together names them itself.
        faults = "; ".join(
            f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}"
            if fault["loc"]
            else fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        )
        raise SettingInvalid(faults) from None
