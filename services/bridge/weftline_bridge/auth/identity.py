"""Who a client is, which workflows it may view and control, and until when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from weftline_bridge.errors import TokenRefusedError

CLAIM = "weftline"
MAX_PATTERNS = 64
"""Patterns that one list of a token may have."""

MAX_SUBJECT = 256
RESERVED = frozenset({"anonymous", "weftline"})
"""Subjects that no token may have: the bridge and the executor use them for what nobody in particular did."""

_PATTERN = re.compile(r"[A-Za-z0-9._:*?-]{1,128}")


@dataclass(frozen=True, slots=True)
class Scope:
    """The workflows that a set of patterns covers: `*` stands for any characters, `?` for one.

    Equal scopes are equal values, so that readers with the same one can be served together.
    """

    patterns: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.patterns)

    @property
    def everything(self) -> bool:
        """Whether every workflow is covered."""
        return "*" in self.patterns

    def covers(self, workflow_id: str) -> bool:
        """Whether a workflow is covered."""
        return self.everything or _matcher(self.patterns).fullmatch(workflow_id) is not None

    def __or__(self, other: Scope) -> Scope:
        return Scope(self.patterns | other.patterns)


EVERYTHING = Scope(frozenset({"*"}))
NOTHING = Scope(frozenset())


@dataclass(frozen=True, slots=True)
class Identity:
    """A client as its token describes it; what may be controlled may be viewed, too.

    `expires` is in seconds since the Unix epoch, None for never.
    """

    subject: str
    view: Scope
    control: Scope
    expires: float | None = None

    @classmethod
    def from_claims(cls, claims: Mapping[str, object], expires: float) -> Identity:
        """Read `sub` and the permissions in the claim `weftline`: `{"view": [pattern, …], "control": [pattern, …]}`.

        A token without that claim permits nothing. Raises TokenRefusedError (`token_claims`) for any other form.
        """
        granted = claims.get(CLAIM, {})
        if not isinstance(granted, Mapping):
            raise TokenRefusedError("token_claims", f"the claim {CLAIM} has to be an object")
        control = _scope(granted, "control")
        return cls(_subject(claims.get("sub")), _scope(granted, "view") | control, control, expires)


ANONYMOUS = Identity("anonymous", EVERYTHING, EVERYTHING)


def _subject(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_SUBJECT or not value.isprintable():
        raise TokenRefusedError("token_claims", f"the claim sub has to be a text of 1 to {MAX_SUBJECT} characters")
    if value in RESERVED:
        raise TokenRefusedError("token_claims", f"the subject {value} is reserved")
    return value


def _scope(granted: Mapping[str, object], name: str) -> Scope:
    patterns = granted.get(name, [])
    if not isinstance(patterns, list) or len(patterns) > MAX_PATTERNS:
        raise TokenRefusedError("token_claims", f"{CLAIM}.{name} has to be a list of at most {MAX_PATTERNS} patterns")
    if not all(isinstance(pattern, str) and _PATTERN.fullmatch(pattern) for pattern in patterns):
        message = f"a pattern of {CLAIM}.{name} has to be 1 to 128 characters of A-Z a-z 0-9 . _ : - * ?"
        raise TokenRefusedError("token_claims", message)
    return Scope(frozenset(patterns))


@lru_cache(maxsize=1024)
def _matcher(patterns: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(_expression(pattern) for pattern in sorted(patterns)) or r"(?!)")


def _expression(pattern: str) -> str:
    """A pattern as a regular expression that never looks back: each `*` takes the nearest match of what follows it."""
    first, *rest = [re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", pattern)]
    if not rest:
        return first
    *middle, last = rest
    return first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"
