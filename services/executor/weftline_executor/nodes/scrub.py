"""Takes the secrets that an attempt read out of all that it says."""

import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

import msgspec

MASK = "***"
MIN_LENGTH = 4
"""Values of fewer characters, without the space around them, are left alone: ordinary words and numbers hold them."""

MIN_LINE = 12
"""Each line of a value that has several is found by itself, too, if it has so many characters."""

_WITHHELD = msgspec.json.encode(MASK)


class SecretSession(Mapping[str, str]):
    """The secrets of one attempt: gives those of `source` and remembers the values, to take them out afterwards.

    A value of at least `MIN_LENGTH` (4) characters is found as it is, without the space around it, as Python or JSON
    quotes it, and as a URL holds it. What a node makes of it in other ways (a part, a hash, Base64) is not recognised.
    Names may be read in any thread. Raises what `source` raises.
    """

    __slots__ = ("_forms", "_source")

    def __init__(self, source: Mapping[str, str]) -> None:
        self._source = source
        self._forms: dict[str, tuple[str, ...]] = {}

    def __getitem__(self, name: str) -> str:
        value = self._source[name]
        if value not in self._forms:
            self._forms[value] = _forms_of(value)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)

    def __repr__(self) -> str:
        return f"SecretSession({self._source!r})"

    @property
    def used(self) -> bool:
        """Whether a secret was read; while not, there is nothing to take out."""
        return bool(self._forms)

    def scrub(self, text: str) -> str:
        """Give a text with `***` in place of every secret that was read."""
        return _masked(text, self._sought()) if self._forms else text

    def scrub_piece(self, text: str, begins: bool) -> str:
        """Scrub a piece of a longer text, leaving out what at its ends may belong to a secret that is cut in two.

        `begins` says that the text begins with it, rather than before it.
        """
        if not self._forms:
            return text
        sought = self._sought()
        if any(text in form for form in sought if len(form) > len(text)):
            return ""
        masked = _masked(text, sought)
        last = min((len(masked) - _overlap(masked, form) for form in sought), default=len(masked))
        first = 0 if begins else max((_overlap(form, masked) for form in sought), default=0)
        return masked[first:last]

    def found_in(self, data: bytes) -> bool:
        """Say whether bytes hold a secret that was read, as text in UTF-8."""
        return any(form.encode(errors="surrogateescape") in data for form in self._sought())

    def scrub_json(self, body: bytes) -> bytes:
        """Give JSON text with `***` in place of every secret in its strings, keys, and numbers that are one.

        What is not JSON, or nests too deeply to be looked through, becomes the string `***` when a secret was read.
        """
        if not self._forms or not body:
            return body
        sought = self._sought()
        if not _may_hold(body, sought):
            return body
        try:
            return msgspec.json.encode(_scrubbed(msgspec.json.decode(body), sought))
        except (ValueError, RecursionError):
            return _WITHHELD

    def _sought(self) -> list[str]:
        # The longest first, so that a secret within another leaves nothing of the longer one.
        found = {form for forms in tuple(self._forms.values()) for form in forms}
        return sorted(found, key=len, reverse=True)


def _forms_of(value: str) -> tuple[str, ...]:
    if len(value.strip()) < MIN_LENGTH:
        return ()
    forms: dict[str, None] = {}
    # Whoever shows a text line by line shows a key that has several lines so.
    lines = [line.strip() for line in value.splitlines()] if "\n" in value.strip() else []
    for plain in (value, value.strip(), *(line for line in lines if len(line) >= MIN_LINE)):
        quoted = (repr(plain)[1:-1], json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1])
        data = plain.encode(errors="surrogatepass")
        forms |= dict.fromkeys((plain, *quoted, quote(data, safe=""), quote(data), quote_plus(data)))
    return tuple(forms)


def _overlap(left: str, right: str) -> int:
    """Give how many characters at the end of one text are those at the beginning of another."""
    start = max(0, len(left) - len(right))
    while (start := left.find(right[0], start)) >= 0:
        if right.startswith(left[start:]):
            return len(left) - start
        start += 1
    return 0


def _may_hold(body: bytes, sought: list[str]) -> bool:
    # An encoder may write any character as an escape, which only decoding sees through.
    if b"\\u" in body or b"\\/" in body:
        return True
    return any(msgspec.json.encode(form.encode(errors="replace").decode())[1:-1] in body for form in sought)


def _masked(text: str, sought: list[str]) -> str:
    for form in sought:
        text = text.replace(form, MASK)
    return text


def _scrubbed(value: object, sought: list[str]) -> object:
    if isinstance(value, str):
        return _masked(value, sought)
    if isinstance(value, dict):
        return {_masked(key, sought): _scrubbed(item, sought) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item, sought) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in sought:
        return MASK
    return value
