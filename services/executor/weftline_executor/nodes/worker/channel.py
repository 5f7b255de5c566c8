"""A worker's line to the executor: sends from any thread, and hears in a thread of its own."""

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar, cast

from weftline_executor.nodes.errors import NodeFailed, SecretMissing, SecretUnreadable
from weftline_executor.nodes.worker.messages import (
    LENGTH,
    OUT_OF_MEMORY,
    ArtifactDone,
    AskSecret,
    AskSecretNames,
    Begin,
    Cancel,
    GetArtifact,
    Message,
    PutArtifact,
    Secret,
    SecretNames,
    Setup,
    ToWorker,
    frame,
    to_worker,
)

Answer = TypeVar("Answer", Secret, SecretNames, ArtifactDone)


class Channel:
    """The socket that the executor holds the other end of; when that is closed, the process ends at once.

    `cancelled` says whether the newest attempt should end; `on_cancel` is called when it should, in the thread that
    hears.
    """

    def __init__(self, line: socket.socket) -> None:
        self.on_cancel: Callable[[], None] = lambda: None
        self.cancelled = False
        self._line = line
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        self._orders: queue.SimpleQueue[Setup | Begin] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Secret | SecretNames | ArtifactDone] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to hear."""
        threading.Thread(target=self._hear, name="weftline-channel", daemon=True).start()

    def send(self, message: Message) -> None:
        """Send a message; ends the process when nobody is there any more."""
        data = frame(message)
        try:
            with self._sending:
                self._line.sendall(data)
        except OSError:
            os._exit(0)

    def order(self) -> Setup | Begin:
        """Wait for what is to be done next."""
        return self._orders.get()

    def ask(self, question: Message, kind: type[Answer]) -> Answer:
        """Send a question and wait for its answer."""
        with self._asking:
            self.send(question)
            return cast("Answer", self._answers.get())

    def _hear(self) -> None:
        try:
            while True:
                (length,) = LENGTH.unpack(self._read(LENGTH.size))
                self._take(to_worker.decode(self._read(length)))
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        finally:
            # Also when this thread fails, since a worker that hears nothing is of no use.
            os._exit(0)

    def _take(self, message: ToWorker) -> None:
        match message:
            case Setup() | Begin():
                self.cancelled = False
                self._orders.put(message)
            case Cancel():
                self.cancelled = True
                self.on_cancel()
            case _:
                self._answers.put(message)

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            count = self._line.recv_into(view)
            if count == 0:
                raise EOFError
            view = view[count:]
        return data


class RemoteSecrets(Mapping[str, str]):
    """The secrets of the executor, asked for by name when they are read; raises what `Secrets` raises."""

    __slots__ = ("_channel",)

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __getitem__(self, name: str) -> str:
        answer = self._channel.ask(AskSecret(name), Secret)
        if answer.value is not None:
            return answer.value
        if answer.reason:
            raise SecretUnreadable(name, answer.reason)
        raise SecretMissing(name, answer.looked)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"RemoteSecrets(names={list(self._names())})"

    def _names(self) -> tuple[str, ...]:
        return self._channel.ask(AskSecretNames(), SecretNames).names


class RemoteArtifacts:
    """The artifacts of the executor: see `ArtifactKeeper`; one has at most `max_bytes`."""

    __slots__ = ("_channel", "_max_bytes")

    def __init__(self, channel: Channel, max_bytes: int) -> None:
        self._channel = channel
        self._max_bytes = max_bytes

    def put(self, data: bytes, content_type: str) -> dict[str, object]:
        """See ArtifactKeeper."""
        if len(data) > self._max_bytes:
            message = f"the artifact is {len(data)} bytes, over a worker process's limit of {self._max_bytes}"
            raise NodeFailed(message, "artifact_too_large", retryable=False)
        return self._ask(PutArtifact(data, content_type)).reference or {}

    def get(self, uri: str) -> bytes:
        """See ArtifactKeeper."""
        return self._ask(GetArtifact(uri)).data

    def _ask(self, question: PutArtifact | GetArtifact) -> ArtifactDone:
        done = self._channel.ask(question, ArtifactDone)
        if done.error:
            raise NodeFailed(done.error, done.code, retryable=done.retryable)
        return done
