"""Facts about taking secrets out: nothing that an attempt read is left in what it says."""

import base64
import json
from urllib.parse import quote_plus

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weftline_executor.nodes import SecretMissing, Secrets, SecretSession
from weftline_executor.nodes.scrub import MASK, MIN_LENGTH


def having_read(*values: str) -> SecretSession:
    """A session in which secrets of these values were read."""
    session = SecretSession({str(at): value for at, value in enumerate(values)})
    assert [session[str(at)] for at in range(len(values))] == list(values)
    return session


def test_a_session_gives_the_secrets_and_what_they_raise() -> None:
    session = Secrets({"WEFTLINE_SECRET_TOKEN": "s3cr3t"}).session()
    assert (session["TOKEN"], list(session), len(session)) == ("s3cr3t", ["TOKEN"], 1)
    assert "s3cr3t" not in repr(session)
    assert session.get("OTHER") is None
    with pytest.raises(SecretMissing):
        session["OTHER"]


def test_only_secrets_that_were_read_are_taken_out() -> None:
    session = SecretSession({"A": "alpha", "B": "bravo"})
    assert not session.used
    assert session.scrub("alpha bravo") == "alpha bravo"
    assert session.scrub_json(b'["alpha"]') == b'["alpha"]'
    assert session["A"] == "alpha"
    assert session.used
    assert session.scrub("alpha bravo") == "*** bravo"


@pytest.mark.parametrize("value", ["s3cr3t", 'pa"ss\\wörd\n', "a b/c&d", " padded ", "line 1\nline 2"])
def test_a_secret_is_found_however_it_is_quoted(value: str) -> None:
    session = having_read(value)
    for form in (value, value.strip(), repr(value), json.dumps(value), quote_plus(value), str(KeyError(value))):
        said = session.scrub(f"it said <{form}>")
        assert value.strip() not in said
        assert MASK in said
    for body in (
        json.dumps({value: [f"x{value}x"]}),
        json.dumps([value], ensure_ascii=False),
        json.dumps([repr(value)]),
    ):
        scrubbed = json.loads(session.scrub_json(body.encode()))
        assert value.strip() not in json.dumps(scrubbed, ensure_ascii=False)
        assert MASK in json.dumps(scrubbed)


def test_a_secret_of_several_lines_is_found_when_it_is_shown_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nshort\n-----END KEY-----\n"
    session = having_read(key)
    assert [session.scrub(line) for line in key.splitlines()] == [MASK, MASK, "short", MASK]


def test_a_secret_within_another_leaves_nothing_of_it() -> None:
    assert having_read("abcd", "abcdefgh").scrub("abcdefgh abcd") == "*** ***"


@pytest.mark.parametrize("value", ["", "abc", " ab "])
def test_a_value_that_is_too_short_is_left_alone(value: str) -> None:
    assert len(value.strip()) < MIN_LENGTH
    assert having_read(value).scrub(f"{value} abc") == f"{value} abc"
    assert having_read(value).scrub_json(b'["abc"]') == b'["abc"]'


@pytest.mark.parametrize(
    ("value", "body", "scrubbed"),
    [
        ("12345", b'{"pin":12345,"other":123456}', {"pin": MASK, "other": 123456}),
        ("true", b'[true,"true"]', [True, MASK]),
        ("null", b'[null,"is null"]', [None, f"is {MASK}"]),
        ("nabc", b'["\\nabc","nabc"]', ["\nabc", MASK]),
        ("key1", b'{"key1":{"key1":1}}', {MASK: {MASK: 1}}),
        ("caf\u00e9", b'["caf\\u00e9"]', [MASK]),
        ("a/b/c", b'["a\\/b\\/c"]', [MASK]),
    ],
)
def test_json_stays_json_when_a_secret_looks_like_its_grammar(value: str, body: bytes, scrubbed: object) -> None:
    assert json.loads(having_read(value).scrub_json(body)) == scrubbed


def test_json_without_a_secret_is_not_touched() -> None:
    body = b' {"a": 1e3, "b" :[1.0]}'
    assert having_read("s3cr3t").scrub_json(body) is body


@pytest.mark.parametrize("body", [b"[" * 100_000 + b'"s3cr3t"' + b"]" * 100_000, b"s3cr3t", b'["s3cr3t'])
def test_what_cannot_be_looked_through_is_withheld(body: bytes) -> None:
    assert having_read("s3cr3t").scrub_json(body) == b'"***"'


def test_what_is_made_of_a_secret_is_not_recognised() -> None:
    encoded = base64.b64encode(b"s3cr3t").decode()
    assert having_read("s3cr3t").scrub(encoded) == encoded


SECRET = st.text(st.characters(exclude_categories=["Cs"]), min_size=MIN_LENGTH, max_size=20)


@given(SECRET, st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_no_secret_is_left_in_any_text_or_json(secret: str, before: str, after: str) -> None:
    assume(len(secret.strip()) >= MIN_LENGTH and "*" not in secret)
    session = having_read(secret)
    text = before + secret + after
    assert secret not in session.scrub(text)
    body = session.scrub_json(msgspec.json.encode({text: [text, 1]}))
    [(key, [item, number])] = msgspec.json.decode(body).items()
    assert secret not in key + "\0" + item or "\0" in secret
    assert number == 1


# Secrets that share no beginning with the end of another: which of two that overlap is there is a matter of taste.
_SECRETS = st.text("ab", min_size=2, max_size=5).map(lambda middle: f"<{middle}>")


@given(st.data(), st.lists(_SECRETS, min_size=1, max_size=3, unique=True))
def test_a_piece_of_a_text_shows_nothing_that_the_whole_text_does_not(data: st.DataObject, secrets: list[str]) -> None:
    text = "".join(data.draw(st.lists(st.sampled_from(secrets) | st.text("<ab>", max_size=4), max_size=8)))
    start = data.draw(st.integers(0, len(text)))
    piece = text[start : data.draw(st.integers(start, len(text)))]
    session = having_read(*secrets)
    shown = session.scrub_piece(piece, begins=start == 0)
    assert shown in session.scrub(text)
    if start == 0:
        assert session.scrub(text).startswith(shown)


def test_a_piece_within_a_long_secret_shows_nothing() -> None:
    session = having_read("-----BEGIN KEY----- 0123456789 -----END KEY-----")
    assert session.scrub_piece("0123456", begins=False) == ""


def test_a_piece_of_a_text_without_secrets_is_shown_as_it_is() -> None:
    assert having_read("s3cr3t").scrub_piece("plain text", begins=False) == "plain text"
    assert SecretSession({"A": "plain"}).scrub_piece("plain text", begins=False) == "plain text"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\xff\x00s3cr3t w\xc3\xb6rd\xff", True),
        (b"s3cr3t%20w%C3%B6rd", True),
        (b"\xff\x00s3cr3t", False),
        (b"", False),
    ],
)
def test_bytes_are_searched_for_secrets_that_were_read(data: bytes, found: bool) -> None:
    session = SecretSession({"TOKEN": "s3cr3t wörd"})
    assert not session.found_in(data)
    assert session["TOKEN"]
    assert session.found_in(data) is found
