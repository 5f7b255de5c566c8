"""Values read as a person says them, and nothing that others wrote can steer the terminal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weftline.v1 import events_pb2 as ev
from weftline_cli import text


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (-5, "0 ms"),
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.0 s"),
        (59_940, "59.9 s"),
        (59_990, "1 m 00 s"),
        (187_000, "3 m 07 s"),
        (7_500_000, "2 h 05 m"),
    ],
)
def test_a_duration_reads_as_a_person_says_it(milliseconds: int, words: str) -> None:
    assert text.duration(milliseconds) == words


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_never_shows_60_of_a_unit(milliseconds: int) -> None:
    assert not re.search(r"\b60(\.0)? (s|m)\b", text.duration(milliseconds))


@given(st.text())
def test_plain_text_has_no_escape_and_keeps_its_lines(raw: str) -> None:
    cleaned = text.plain(raw)
    assert "\x1b" not in cleaned
    assert "\x9b" not in cleaned
    assert cleaned.count("\n") == raw.count("\n")
    assert len(cleaned) == len(raw)


def test_one_line_is_flat_and_bounded() -> None:
    assert text.one_line("a\n\tb  c") == "a b c"
    assert text.one_line("x" * 500, 10) == "x" * 9 + "…"


def test_every_state_status_and_level_of_the_contract_has_a_word() -> None:
    assert {run for run in ev.RunState.values() if run} == set(text.RUN_STATES)
    assert {status for status in ev.NodeStatus.values() if status} == set(text.NODE_STATUSES)
    assert {level for level in ev.LogLevel.values() if level} == set(text.LOG_LEVELS)


def test_json_that_is_none_after_all_is_shown_as_it_is() -> None:
    assert text.decode_json("") is None
    assert text.decode_json('{"a": 1}') == {"a": 1}
    assert text.decode_json("{oops") == "{oops"


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        ("no run is known", "No run is known."),
        ("Done!", "Done!"),
        ("workflow_id: too long", "workflow_id: too long."),
    ],
)
def test_words_of_others_become_a_sentence_and_names_stay_as_they_are(words: str, whole: str) -> None:
    assert text.sentence(words) == whole


def test_one_thing_is_not_counted_as_several() -> None:
    assert [text.count(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]
