"""The environment variables that programs are given which run for a node: few, since others may hold secrets."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

BASIC = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "PYTHON*",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEMP",
    "TMP",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
)
"""What is given always, if it is there; `*` stands for anything."""


def passed_on(environment: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """Give the part of an environment that programs of nodes see: `BASIC` and what the patterns `more` name.

    What begins with `WEFTLINE_` is never part of it, since secrets are there.
    """
    patterns = (*BASIC, *more)
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("WEFTLINE_") and any(fnmatchcase(name, pattern) for pattern in patterns)
    }
