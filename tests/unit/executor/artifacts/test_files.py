"""What files promise, over every kind of place."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.s3_server import S3Server
from weftline_executor.artifacts import Files
from weftline_executor.artifacts import files as module
from weftline_executor.errors import ArtifactsUnavailable, ArtifactsUnusable


@pytest.mark.parametrize("body", [b"", b"a", bytes(range(256)) * 5000], ids=["empty", "one byte", "1 MB"])
async def test_a_file_is_read_as_it_was_written(files: Files, body: bytes) -> None:
    await files.write("a/b", body)
    assert await files.read("a/b") == body
    assert await files.size("a/b") == len(body)


async def test_a_file_can_be_read_in_pieces(files: Files) -> None:
    await files.write("a", b"0123456789")
    assert await files.read("a", 0, 4) == b"0123"
    assert await files.read("a", 4, 4) == b"4567"
    assert await files.read("a", 8, 4) == b"89"
    assert await files.read("a", 3) == b"3456789"


async def test_writing_again_replaces_the_file(files: Files) -> None:
    await files.write("a", b"long and old")
    await files.write("a", b"new")
    assert await files.read("a") == b"new"


async def test_what_is_not_there_is_none_and_can_be_deleted(files: Files) -> None:
    assert await files.read("a/b") is None
    assert await files.read("a/b", 0, 1) is None
    assert await files.size("a/b") is None
    assert await files.folders("a") == []
    assert await files.files("a") == []
    await files.delete("a/b")
    await files.delete_folder("a")


async def test_folders_and_files_are_listed_apart(files: Files) -> None:
    before = time.time() * 1000 - 2000
    await files.write("a/one", b"1")
    await files.write("a/two", b"22")
    await files.write("a/b/three", b"333")
    assert await files.folders("a") == ["b"]
    found = {file.name: file for file in await files.files("a")}
    assert {name: file.size for name, file in found.items()} == {"one": 1, "two": 2}
    assert all(before < file.written_at < time.time() * 1000 + 2000 for file in found.values())


async def test_deleting_takes_one_file_or_a_whole_folder(files: Files) -> None:
    for name in ("a/one", "a/two", "b/one"):
        await files.write(name, b"x")
    await files.delete("a/one")
    assert [file.name for file in await files.files("a")] == ["two"]
    await files.delete_folder("a")
    assert await files.folders("") == ["b"]
    assert await files.read("b/one") == b"x"


async def test_many_at_once_do_not_disturb_one_another(files: Files) -> None:
    names = [f"folder-{number % 5}/{number}" for number in range(40)]
    await asyncio.gather(*(files.write(name, name.encode()) for name in names), *(files.files("folder-1"),) * 5)
    assert await asyncio.gather(*map(files.read, names)) == [name.encode() for name in names]


async def test_another_namespace_of_the_same_place_has_files_of_its_own(place: Path | str, files: Files) -> None:
    await files.write("a", b"mine")
    other = Files(place)
    await other.open("log-2")
    try:
        assert await other.read("a") is None
        await other.delete_folder("")
    finally:
        await other.close()
    assert await files.read("a") == b"mine"


async def test_an_empty_folder_is_left_by_no_start(files: Files) -> None:
    assert await files.files("") == []


async def test_files_outlive_the_object_where_the_place_does(place: Path | str, files: Files) -> None:
    if place == module.MEMORY:
        return
    await files.write("a", b"kept")
    again = Files(place)
    await again.open("log-1")
    try:
        assert await again.read("a") == b"kept"
    finally:
        await again.close()


@pytest.mark.parametrize("place", ["nowhere://x", "gs://bucket", "s3://no-such-bucket/x"])
async def test_a_place_that_cannot_be_used_is_refused_at_the_start_naming_the_setting(
    place: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    files = Files(place)
    with pytest.raises(ArtifactsUnusable, match="WEFTLINE_EXECUTOR_ARTIFACTS_URL"):
        await files.open("log")
    await files.close()


async def test_a_directory_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    files = Files(tmp_path / "file" / "artifacts")
    with pytest.raises(ArtifactsUnusable, match="WEFTLINE_EXECUTOR_ARTIFACTS_URL"):
        await files.open("log")
    await files.close()


async def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    files = Files(tmp_path)
    await files.open("log")
    (tmp_path / "log" / "a").mkdir()
    try:
        with pytest.raises(ArtifactsUnavailable):
            await files.write("a", b"x")
        assert await files.files("") == []
    finally:
        await files.close()


async def test_a_place_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path)
    await files.open("log")
    answered = asyncio.Event()
    loop = asyncio.get_running_loop()

    def never(_name: str, _body: bytes) -> None:
        asyncio.run_coroutine_threadsafe(answered.wait(), loop).result()

    monkeypatch.setattr(files, "_write", never)
    monkeypatch.setattr(module, "DEADLINE_SECONDS", 0.05)
    with pytest.raises(ArtifactsUnavailable, match="no answer"):
        await files.write("a", b"x")
    answered.set()
    await files.close()
