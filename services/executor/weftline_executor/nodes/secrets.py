"""Secrets by name, from environment variables or files, read when they are used and never shown."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from weftline_executor.nodes.errors import SecretMissing, SecretUnreadable
from weftline_executor.nodes.scrub import SecretSession

PREFIX = "WEFTLINE_SECRET_"
MAX_BYTES = 64 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Secrets(Mapping[str, str]):
    """A mapping from a secret's name to its value.

    The value of `NAME` is the environment variable `WEFTLINE_SECRET_NAME`, else the text of the file `NAME` in
    `directory` without its last line break. Nothing is kept: a rotated file is seen at the next use.

    Looking a name up raises `SecretMissing` when there is no such secret, and `SecretUnreadable` when its file is
    not readable UTF-8 text of at most 64 KiB.
    """

    __slots__ = ("_directory", "_environ")

    def __init__(self, environ: Mapping[str, str] | None = None, directory: Path | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._directory = directory

    def __getitem__(self, name: str) -> str:
        value = self._environ.get(PREFIX + name)
        if value is not None:
            return value
        looked = [f"the environment variable {PREFIX}{name}"]
        if self._directory is not None and _NAME.fullmatch(name):
            file = self._directory / name
            if file.is_file():
                return _read(name, file)
            looked.append(f"the file {file}")
        raise SecretMissing(name, looked)

    def session(self) -> SecretSession:
        """Give these secrets for one attempt, which remembers what is read so that it can be kept out of the events."""
        return SecretSession(self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"Secrets(names={self._names()})"

    def _names(self) -> list[str]:
        names = {key.removeprefix(PREFIX) for key in self._environ if key.startswith(PREFIX)} - {""}
        if self._directory is not None and self._directory.is_dir():
            names.update(file.name for file in self._directory.iterdir() if _NAME.fullmatch(file.name))
        return sorted(names)


def _read(name: str, file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise SecretUnreadable(name, error.strerror or type(error).__name__) from None
    except UnicodeDecodeError:
        # The error holds the bytes, which must not end up in a log.
        raise SecretUnreadable(name, "it is not UTF-8 text") from None
    if len(content) > MAX_BYTES:
        raise SecretUnreadable(name, f"it is larger than {MAX_BYTES} bytes")
    return text.removesuffix("\n").removesuffix("\r")
