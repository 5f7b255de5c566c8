"""The token that says to the bridge who calls: from an option, a file, or the environment, never from a URL."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from weftline_cli.errors import UsageError

VARIABLE: Final = "WEFTLINE_TOKEN"
FILE_VARIABLE: Final = "WEFTLINE_TOKEN_FILE"
MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where the token comes from: `text` is it, or else `file` holds it, which is read anew for each connection.

    Both are empty where nobody asks for one.
    """

    text: str = ""
    file: str = ""

    @classmethod
    def choose(cls, text: str = "", file: str = "", environment: Mapping[str, str] = os.environ) -> Self:
        """Take what was given, else what the environment names; the token itself goes before its file.

        Raises UsageError when both were given.
        """
        if text and file:
            raise UsageError("--token and --token-file can't be combined.")
        if text or file:
            return cls(text.strip(), file)
        return cls(environment.get(VARIABLE, "").strip(), environment.get(FILE_VARIABLE, ""))

    def read(self) -> str:
        """Return the token as it is now, empty for none.

        Raises UsageError when the file can't be read, and for what can't be a token.
        """
        token = self.text or self._from_file()
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError("The token is not one: it has other characters than a token has.")
        return token

    def headers(self) -> dict[str, str]:
        """Return the headers that say who calls; raises UsageError as `read` does."""
        token = self.read()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _from_file(self) -> str:
        if not self.file:
            return ""
        try:
            with Path(self.file).open("rb") as file:
                token = file.read(MAX_BYTES).decode(errors="replace").strip()
        except OSError as error:
            raise UsageError(f"The token can't be read from {self.file}: {error.strerror}.") from error
        if not token:
            raise UsageError(f"There is no token in {self.file}.")
        return token
