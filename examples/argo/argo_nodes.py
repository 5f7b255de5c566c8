"""A node type that ends like a program: `program.exit` draws its exit code, and says whether to try again."""

from random import choice
from typing import Annotated

from pydantic import Field

from weftline_executor.nodes import Context, NodeFailed, node


@node(
    "program.exit",
    title="Exit like a program",
    isolation="inline",
    errors={"exit_code": "the exit code is not 0; it may be retried from `retryFrom` on, where `mayRetry` says so"},
)
def program_exit(
    ctx: Context,
    codes: Annotated[list[int], Field(min_length=1, description="The exit codes, of which an attempt draws one.")],
    retry_from: Annotated[int, Field(alias="retryFrom", description="The least exit code that may be retried.")] = 1,
    may_retry: Annotated[bool, Field(alias="mayRetry", description="Whether any failure may be retried.")] = True,
) -> int:
    """Ends with one of `codes`: succeeds with 0, and fails with any other."""
    code = choice(codes)
    if code != 0:
        retryable = may_retry and code >= retry_from
        raise NodeFailed(f"exit code {code}", "exit_code", {"exitCode": code}, retryable=retryable)
    return code
