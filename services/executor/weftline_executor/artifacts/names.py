"""The names of artifacts, as clients and events know them: opaque, relative, and strict."""

from __future__ import annotations

import re
from dataclasses import dataclass

from weftline_executor.errors import ArtifactNameInvalid

_SCHEME = "weftline:"
_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
_URI = re.compile(rf"{_SCHEME}({_RUN.pattern})/([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class Name:
    """An artifact of a run, by the SHA-256 of its bytes."""

    run_id: str
    sha256: str

    @property
    def uri(self) -> str:
        """The name as events hold it."""
        return f"{_SCHEME}{self.run_id}/{self.sha256}"

    @property
    def path(self) -> str:
        """Where it is, below the folder of all runs."""
        return f"{check_run(self.run_id)}/{self.sha256}"


def parse(uri: str) -> Name:
    """The parts of a uri. Raises ArtifactNameInvalid unless it is one, so that no name leads anywhere else."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise ArtifactNameInvalid(uri)
    return Name(*found.groups())


def check_uri(uri: str) -> None:
    """Raises ArtifactNameInvalid unless this is the uri of an artifact."""
    parse(uri)


def check_run(run_id: str) -> str:
    """Gives a run's id back. Raises ArtifactNameInvalid unless it can be the name of a folder."""
    if not _RUN.fullmatch(run_id):
        raise ArtifactNameInvalid(run_id)
    return run_id
