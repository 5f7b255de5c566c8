"""What kept results promise, over every kind of place."""

import os
import time
from pathlib import Path

import pytest

from weftline_executor.artifacts import Entries, Entry, Files

FOREVER = 1 << 60
KEYS = [f"{number:064x}" for number in range(5)]


def now() -> int:
    """Milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


@pytest.fixture
def entries(files: Files) -> Entries:
    """Entries over the files."""
    return Entries(files)


@pytest.mark.parametrize("output", [b"", b"[1,2]", b'"a\\nb"\n\n{"x": 1}', b"x" * 100_000])
async def test_an_entry_is_read_as_it_was_written(entries: Entries, output: bytes) -> None:
    entry = Entry(output, "left\n", 7)
    await entries.write(KEYS[0], entry)
    assert await entries.read(KEYS[0]) == entry
    assert await entries.read(KEYS[1]) is None


async def test_an_entry_takes_the_place_of_the_one_before(entries: Entries) -> None:
    await entries.write(KEYS[0], Entry(b"1", "", 1))
    await entries.write(KEYS[0], Entry(b"2", "", 2))
    assert await entries.read(KEYS[0]) == Entry(b"2", "", 2)


@pytest.mark.parametrize("body", [b"", b"{}", b"not json\nx", b'{"handle":"","written_at":1,"sha256":"0"}\nx'])
async def test_a_damaged_entry_is_none(entries: Entries, files: Files, body: bytes) -> None:
    await files.write(f"cache/{KEYS[0]}", body)
    assert await entries.read(KEYS[0]) is None


async def test_old_entries_are_swept(entries: Entries) -> None:
    await entries.write(KEYS[0], Entry(b"1", "", 1))
    assert await entries.sweep(60_000, FOREVER, now()) == 0
    assert await entries.sweep(60_000, FOREVER, now() + 120_000) == 1
    assert await entries.read(KEYS[0]) is None
    assert await entries.sweep(60_000, FOREVER, now()) == 0


async def test_as_many_are_swept_as_are_too_many(entries: Entries) -> None:
    for key in KEYS:
        await entries.write(key, Entry(b"x" * 1000, "", 1))
    assert await entries.sweep(FOREVER, 3500, now()) == 2
    assert sum([await entries.read(key) is not None for key in KEYS]) == 3


async def test_the_oldest_go_first(tmp_path: Path) -> None:
    files = Files(tmp_path)
    await files.open("log")
    try:
        entries = Entries(files)
        for number, key in enumerate(KEYS):
            await entries.write(key, Entry(b"x" * 1000, "", 1))
            path = tmp_path / "log" / "cache" / key
            _set_age(path, 100 * (number + 1))
        await entries.sweep(FOREVER, 3500, now())
        assert [await entries.read(key) is not None for key in KEYS] == [True, True, True, False, False]
    finally:
        await files.close()


async def test_what_was_never_finished_is_swept_when_nobody_can_be_writing_it_any_more(entries: Entries) -> None:
    await entries._files.write("cache/.unfinished-1", b"half")
    await entries._files.write("cache/nonsense", b"?")
    assert await entries.sweep(FOREVER, FOREVER, now()) == 1
    assert await entries.sweep(FOREVER, FOREVER, now() + 2 * 3_600_000) == 1


async def test_only_a_hash_is_a_key(entries: Entries) -> None:
    for key in ("", "../x", KEYS[0][1:], KEYS[0].replace("0", "G")):
        with pytest.raises(ValueError, match="is not a key"):
            await entries.read(key)


def _set_age(path: Path, seconds: int) -> None:
    at = time.time() - seconds
    os.utime(path, (at, at))
