"""`weftline artifact`: fetches a value that is too large for an event."""

import codecs
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

import click

from weftline_cli import runtime, text
from weftline_cli.client import ExecutorClient
from weftline_cli.errors import UsageError
from weftline_cli.options import Output, common, pass_output

UNPRINTABLE: Final = "\x00"
NO_TEXT: Final = "The artifact is not text, which a terminal can't show; write it with --out FILE."


@click.command(short_help="Fetch an output that is too large for an event.")
@click.argument("uri")
@click.option("--out", metavar="FILE", help="Write there instead of to standard output.")
@common
@pass_output
def artifact(output: Output, uri: str, out: str | None) -> None:
    """Fetch the artifact URI, which is in the node.success of the node that gave it."""
    size = runtime.run(_fetch(output.executor, uri, out))
    if out is None:
        return
    if output.as_json:
        output.row({"uri": uri, "file": out, "size": size})
    else:
        output.say(f"Wrote {out}: {text.size(size)}.")


async def _fetch(executor: str, uri: str, out: str | None) -> int:
    async with ExecutorClient(executor) as client, aclosing(client.artifact(uri)) as pieces:
        if out is not None:
            return await _save(pieces, Path(out))
        if sys.stdout.isatty():
            return await _show(pieces)
        return await _copy(pieces, sys.stdout.buffer)


async def _save(pieces: AsyncGenerator[bytes, None], target: Path) -> int:
    """Write the pieces to a file; return its size in bytes. Raises UsageError when it can't be written."""
    try:
        with _replacing(target) as file:
            return await _copy(pieces, file)
    except OSError as error:
        raise UsageError(f"{target} can't be written: {error.strerror}.") from error


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the name `target` only once it is whole; a device or a pipe is written to instead."""
    if target.exists() and not target.is_file():
        with target.open("wb") as device:
            yield device
        return
    partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


async def _copy(pieces: AsyncGenerator[bytes, None], file: BinaryIO) -> int:
    size = 0
    async for piece in pieces:
        size += file.write(piece)
    file.flush()
    return size


async def _show(pieces: AsyncGenerator[bytes, None]) -> int:
    """Print text to a terminal, without what could steer it; raises UsageError for what is no text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = 0
    try:
        async for piece in pieces:
            size += len(piece)
            _print(decoder.decode(piece))
        _print(decoder.decode(b"", final=True) + "\n")
    except UnicodeDecodeError:
        raise UsageError(NO_TEXT) from None
    return size


def _print(words: str) -> None:
    if UNPRINTABLE in words:
        raise UsageError(NO_TEXT)
    sys.stdout.write(text.plain(words))
    sys.stdout.flush()
