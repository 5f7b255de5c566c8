"""The node that runs a program."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from weftline_executor.nodes.builtin.program import Program, Stream
from weftline_executor.nodes.builtin.repeatable import Repeatable, idempotency_of
from weftline_executor.nodes.builtin.text import Text
from weftline_executor.nodes.context import Context
from weftline_executor.nodes.decorator import NodeFunction, node
from weftline_executor.nodes.errors import NodeFailed
from weftline_executor.nodes.values import text

_MAX_SHOWN = 2048
_ERRORS = {
    "command_failed": "the exit code is not 0; the details hold it and the end of both streams",
    "command_not_found": "there is no such program, or no such folder; never tried again",
    "command_timeout": "the program took longer than `timeout`",
}
_SECRETS = "Environment variables that hold secrets: for each the name of a secret."

Arguments = Annotated[
    Sequence[Text],
    Field(min_length=1, max_length=1000, description="The program and its arguments; no shell reads them."),
]
Input = Annotated[object, Field(description="What the program reads: text as it is, any other value as JSON.")]
Folder = Annotated[Text, Field(description="The folder to run in; the executor's own if empty.")]
Timeout = Annotated[
    float | None, Field(gt=0, le=86_400 * 7, description="Seconds after which the program is killed; null for never.")
]
Check = Annotated[bool, Field(description="Whether the node fails if the program's exit code is not 0.")]
LogLines = Annotated[bool, Field(description="Whether what the program writes becomes log lines while it runs.")]


def command_with(environment: Mapping[str, str]) -> NodeFunction[..., object]:
    """Give the node type `command`, whose programs see these environment variables."""

    @node("command", title="Run a program", idempotency="unsafe", idempotency_of=idempotency_of, errors=_ERRORS)
    async def command(
        ctx: Context,
        *,
        argv: Arguments,
        stdin: Input = None,
        env: Annotated[Mapping[str, Text], Field(description="More environment variables.")] = {},
        secrets: Annotated[Mapping[str, str], Field(description=_SECRETS)] = {},
        cwd: Folder = "",
        timeout: Timeout = None,  # noqa: ASYNC109 - it is a setting of the node
        check: Check = True,
        log: LogLines = True,
        repeatable: Repeatable = False,
    ) -> dict[str, object]:
        """Runs a program as the executor's user, without a shell.

        The output is `{exitCode, stdout, stderr, truncated}`: the exit code is negative for a signal; of each stream
        the last 256 KiB are kept, and `truncated` says whether there was more. What the program has started ends with
        it. When the node is cancelled, the program gets SIGTERM and 2 seconds; when the executor is killed, the
        program is killed, too.
        """
        traced = {"TRACEPARENT": ctx.traceparent} if ctx.traceparent else {}
        seen = {**environment, **traced, **env, **{name: ctx.secrets[secret] for name, secret in secrets.items()}}
        folder = _folder(cwd)
        program = Program([_found(argv[0], seen, folder), *argv[1:]], seen, folder)
        out, err = Stream(ctx if log else None, "info"), Stream(ctx if log else None, "warn")
        try:
            async with asyncio.timeout(timeout):
                code = await program.run(b"" if stdin is None else text(stdin).encode(), out, err)
        except TimeoutError:
            message = f"{argv[0]} took longer than {timeout:g} s"
            raise NodeFailed(message, "command_timeout", _ends(out, err)) from None
        if code != 0 and check:
            raise NodeFailed(f"{argv[0]} {_how(code)}", "command_failed", {"exitCode": code, **_ends(out, err)})
        truncated = out.truncated or err.truncated
        return {"exitCode": code, "stdout": out.text(), "stderr": err.text(), "truncated": truncated}

    return command


def _folder(cwd: str) -> str:
    folder = cwd or os.getcwd()
    if not Path(folder).is_dir():
        raise NodeFailed(f"there is no folder {cwd!r}", "command_not_found", retryable=False)
    return folder


def _found(name: str, environment: Mapping[str, str], folder: str) -> str:
    """Give the path of a program: one with a slash is relative to the folder, others are looked for in `PATH`."""
    if "/" in name:
        path = Path(folder, name)
        found = str(path.absolute()) if path.is_file() and os.access(path, os.X_OK) else None
    else:
        found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise NodeFailed(f"there is no program {name!r} that can be run", "command_not_found", retryable=False)
    return found


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    known = -code in set(signal.Signals)
    return f"was ended by {signal.Signals(-code).name if known else f'signal {-code}'}"


def _ends(out: Stream, err: Stream) -> dict[str, object]:
    return {"stdout": out.text()[-_MAX_SHOWN:], "stderr": err.text()[-_MAX_SHOWN:]}
