"""Checks single fields of a client's message and says what was expected and what came."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from weftline_bridge.errors import Misfit
from weftline_bridge.protocol.names import ALL_WORKFLOWS

Fields = Mapping[str, msgspec.Raw]

WORKFLOW_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
MAX_TEXT = 4096
MAX_TRACEPARENT = 256
# W3C Trace Context, section 3.2: later versions may add fields at the end, and version ff is none.
_TRACEPARENT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)
_SHOWN = 60


class FieldReader:
    """Reads typed fields out of one JSON object and collects what does not fit.

    `at` is the path of the object, for example `payload` or `[2].payload`.
    """

    def __init__(self, fields: Fields, at: str, misfits: list[Misfit]) -> None:
        self._fields = fields
        self._at = at
        self._misfits = misfits

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        raw = self._fields.get(name)
        return raw is not None and bytes(raw).strip() != b"null"

    def path(self, name: str) -> str:
        """The path of a field, as it is told to the client."""
        return f"{self._at}.{name}" if self._at else name

    def misfit(self, name: str, expected: str, got: str | None = None) -> None:
        """Note that a field is wrong."""
        self._misfits.append(Misfit(self.path(name), expected, got or describe(self._fields.get(name))))

    def text(self, name: str, *, required: bool = False, most: int = MAX_TEXT) -> str:
        """A string of at most `most` characters (at least one when `required`); empty when it is left out or wrong."""
        expected = f"a string of {1 if required else 0} to {most} characters"
        if not self.has(name):
            if required:
                self.misfit(name, expected)
            return ""
        value = self._decoded(name)
        if not isinstance(value, str):
            self.misfit(name, expected)
        elif not (1 if required else 0) <= len(value) <= most:
            self.misfit(name, expected, f"a string of {len(value)} characters")
        else:
            return value
        return ""

    def choice(self, name: str, options: Collection[str], default: str) -> str:
        """One of `options`; the default when it is left out."""
        if not self.has(name):
            return default
        value = self._decoded(name)
        if isinstance(value, str) and value in options:
            return value
        self.misfit(name, "one of " + ", ".join(sorted(options)))
        return default

    def flag(self, name: str, default: bool) -> bool:
        """True or false; the default when it is left out."""
        if not self.has(name):
            return default
        value = self._decoded(name)
        if isinstance(value, bool):
            return value
        self.misfit(name, "true or false")
        return default

    def whole(self, name: str, *, least: int = 0, most: int = 2**53, required: bool = False) -> int | None:
        """A whole number from `least` to `most`; None when it is left out or wrong."""
        expected = f"a whole number from {least} to {most}"
        if not self.has(name):
            if required:
                self.misfit(name, expected)
            return None
        value = self._decoded(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.misfit(name, expected)
        return None

    def number(self, name: str) -> float | None:
        """Any number; None when it is left out or wrong."""
        if not self.has(name):
            return None
        value = self._decoded(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        self.misfit(name, "a number")
        return None

    def json(self, name: str, *, most: int) -> str:
        """The JSON text of any value, as it came, of at most `most` bytes; empty when it is left out or wrong."""
        if not self.has(name):
            return ""
        text = bytes(self._fields[name]).strip()
        if len(text) > most:
            self.misfit(name, f"JSON of at most {most} bytes", f"{len(text)} bytes")
            return ""
        return text.decode()

    def shape(self, name: str, kind: str, *, required: bool = False) -> None:
        """Check that the field is an `array` or an `object` without decoding it."""
        expected = f"an {kind}"
        if not self.has(name):
            if required:
                self.misfit(name, expected)
        elif json_kind(self._fields[name]) != kind:
            self.misfit(name, expected)

    def inner(self, name: str) -> FieldReader | None:
        """A reader of the object in a field, of an empty one when it is left out; None when it is no object."""
        fields: Fields = {}
        if self.has(name):
            if json_kind(self._fields[name]) != "object":
                self.misfit(name, "an object")
                return None
            fields = msgspec.json.decode(self._fields[name], type=dict[str, msgspec.Raw])
        return FieldReader(fields, self.path(name), self._misfits)

    def workflow_id(self, *, wildcard: bool = False) -> str:
        """The `workflowId`, which has to be there; `*` only where `wildcard` says so. Empty when it is wrong."""
        expected = "1 to 128 characters of A-Z a-z 0-9 . _ : -" + (", or *" if wildcard else "")
        value = self._decoded("workflowId") if self.has("workflowId") else None
        if isinstance(value, str) and (WORKFLOW_ID.fullmatch(value) or (wildcard and value == ALL_WORKFLOWS)):
            return value
        self.misfit("workflowId", expected)
        return ""

    def traceparent(self) -> str:
        """The W3C `traceparent`, in its version 00; empty when it is left out, or is none.

        That is no misfit: W3C says to go on then as if nothing had come.
        """
        value = self._decoded("traceparent") if self.has("traceparent") else None
        if not isinstance(value, str) or len(value) > MAX_TRACEPARENT:
            return ""
        found = _TRACEPARENT.fullmatch(value)
        if found is None or (found["version"] == "00" and found["more"]):
            return ""
        return f"00-{found['ids']}-{int(found['flags'], 16) & 1:02x}"

    def _decoded(self, name: str) -> object:
        try:
            return msgspec.json.decode(self._fields[name])
        except msgspec.DecodeError:
            return None


def json_kind(raw: msgspec.Raw | bytes) -> str:
    """What JSON text holds, by its first character."""
    first = bytes(raw).lstrip()[:1]
    kinds = {b"{": "object", b"[": "array", b'"': "string", b"t": "boolean", b"f": "boolean", b"n": "null"}
    return kinds.get(first, "number")


def describe(raw: msgspec.Raw | bytes | None) -> str:
    """A value as it is shown in an error: its kind, and itself when it is short."""
    if raw is None:
        return "nothing"
    kind = json_kind(raw)
    if kind in ("object", "array"):
        return f"an {kind}"
    text = bytes(raw).strip().decode("utf-8", "replace")
    return f"{kind} {text if len(text) <= _SHOWN else text[:_SHOWN] + '…'}"
