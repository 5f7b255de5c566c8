"""What the executor and a worker process say to each other: JSON in frames, each after its length in four bytes."""

import struct
from typing import Annotated, TypeAlias

import msgspec

from weftline_executor.nodes.context import Level
from weftline_executor.nodes.results import Skip, Wait

LENGTH = struct.Struct(">I")
MAX_LENGTH = (1 << 32) - 1
OUT_OF_MEMORY = 71
"""The exit status of a worker that had no memory to go on."""

NULL = msgspec.Raw(b"null")


class Message(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """Base of every message."""


class Setup(Message, frozen=True, tag="setup"):
    """Comes first: the places where the executor finds modules, and what an output may measure in bytes."""

    path: tuple[str, ...]
    max_output: int


class Begin(Message, frozen=True, tag="begin"):
    """An attempt of a node of the type `type`, which `module` declares; the fields are those of a context.

    `config`, `inputs` and `params` are JSON objects, with all expressions rendered. `memory` bounds what the attempt
    may take beyond what the worker has, in bytes, and `cpu` its computing time in seconds; 0 is no bound.
    """

    type: str
    module: str
    config: msgspec.Raw
    inputs: msgspec.Raw
    params: msgspec.Raw
    workflow_id: str
    run_id: str
    node_id: str
    attempt: int
    idempotency_key: str
    already_elapsed: float = 0.0
    memory: int = 0
    cpu: int = 0
    traceparent: str = ""


class Cancel(Message, frozen=True, tag="cancel"):
    """The attempt should end."""


class Secret(Message, frozen=True, tag="secret"):
    """The answer to `AskSecret`: the value, or why there is none; `looked` is where it was not found."""

    value: str | None = None
    looked: tuple[str, ...] = ()
    reason: str = ""


class SecretNames(Message, frozen=True, tag="secret_names"):
    """The answer to `AskSecretNames`."""

    names: tuple[str, ...]


class ArtifactDone(Message, frozen=True, tag="artifact"):
    """The answer to `PutArtifact` and `GetArtifact`: a reference or bytes, or the error as of `NodeFailed`."""

    reference: dict[str, object] | None = None
    data: bytes = b""
    error: str = ""
    code: str = ""
    retryable: bool = True


class Ready(Message, frozen=True, tag="ready"):
    """The worker has started and waits for attempts."""


class Begun(Message, frozen=True, tag="begun"):
    """The node's code is called now; until then an attempt can be given to another worker."""


class Progress(Message, frozen=True, tag="progress"):
    """See `ContextSink.progress`."""

    fraction: Annotated[float, msgspec.Meta(ge=0, le=1)]
    message: str | None = None


class Partial(Message, frozen=True, tag="partial"):
    """See `ContextSink.partial`; `text` is the end of a long one."""

    text: str


class Log(Message, frozen=True, tag="log"):
    """See `ContextSink.log`; `context` is a JSON object."""

    level: Level
    message: str
    context: msgspec.Raw


class AskSecret(Message, frozen=True, tag="ask_secret"):
    """The node reads a secret."""

    name: str


class AskSecretNames(Message, frozen=True, tag="ask_secret_names"):
    """The node lists the names of the secrets."""


class PutArtifact(Message, frozen=True, tag="put_artifact"):
    """The node keeps bytes."""

    data: bytes
    content_type: str


class GetArtifact(Message, frozen=True, tag="get_artifact"):
    """The node reads an artifact."""

    uri: str


class Succeeded(Message, frozen=True, tag="succeeded"):
    """The attempt gave an output (JSON), or it waits or skips; `handle` is that of a `Branch`, else None.

    `reusable` says whether the worker is as it was before, and fit for another attempt.
    """

    output: msgspec.Raw = NULL
    handle: str | None = None
    wait: Wait | None = None
    skip: Skip | None = None
    reusable: bool = True


class Failed(Message, frozen=True, tag="failed"):
    """The attempt failed; the fields are those of `NodeFailed`, `details` a JSON object, `trace` for the log."""

    error: str
    code: str
    details: msgspec.Raw = NULL
    retryable: bool = True
    retry_after: float = 0.0
    trace: str = ""
    reusable: bool = True


Question: TypeAlias = AskSecret | AskSecretNames | PutArtifact | GetArtifact
ToWorker: TypeAlias = Setup | Begin | Cancel | Secret | SecretNames | ArtifactDone
FromWorker: TypeAlias = Ready | Begun | Progress | Partial | Log | Question | Succeeded | Failed

_encoder = msgspec.json.Encoder()
to_worker: msgspec.json.Decoder[ToWorker] = msgspec.json.Decoder(ToWorker)
from_worker: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)


def frame(message: Message) -> bytes:
    """Give a message as it is sent. Raises `ValueError` when it is over 4 GiB."""
    body = _encoder.encode(message)
    if len(body) > MAX_LENGTH:
        raise ValueError(f"a message of {len(body)} bytes is too large")
    return LENGTH.pack(len(body)) + body
