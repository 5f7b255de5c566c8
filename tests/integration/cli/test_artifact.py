"""`artifact`: whole or not at all, and nothing on a terminal that a terminal can't show."""

import os
from pathlib import Path

import grpc
import pytest

from tests.integration.cli.fake_executor import FakeExecutor, refused
from tests.integration.cli.process import finish, on_terminal, start, weftline

URI = "weftline:run/5feceb66"


async def test_an_artifact_goes_to_standard_output_as_it_is(executor: FakeExecutor) -> None:
    executor.artifact = [b'{"rows":', b' "\xc3', b'\xa9\x1b[2J"}']
    result = await weftline("artifact", URI, executor=executor.address)
    assert (result.code, result.out) == (0, '{"rows": "é\x1b[2J"}')
    assert executor.requests[0].uri == URI


async def test_an_artifact_goes_to_a_file_whatever_it_holds(executor: FakeExecutor, tmp_path: Path) -> None:
    executor.artifact = [bytes(range(256))] * 1000
    target = tmp_path / "rows.bin"
    target.write_text("older")
    result = await weftline("artifact", URI, "--out", str(target), executor=executor.address)
    assert (result.code, result.out) == (0, f"Wrote {target}: 250.0 KiB.\n")
    assert target.read_bytes() == bytes(range(256)) * 1000
    as_json = await weftline("artifact", URI, "--out", str(target), "--json", executor=executor.address)
    assert as_json.rows == [{"uri": URI, "file": str(target), "size": 256_000}]
    assert os.listdir(tmp_path) == ["rows.bin"]


async def test_what_breaks_off_leaves_the_file_as_it_was(executor: FakeExecutor, tmp_path: Path) -> None:
    executor.artifact = [b"half", None]
    target = tmp_path / "rows.bin"
    target.write_text("older")
    result = await weftline("artifact", URI, "--out", str(target), executor=executor.address)
    assert result.code == 6
    assert target.read_text() == "older"
    assert os.listdir(tmp_path) == ["rows.bin"]


async def test_an_artifact_that_is_not_there_is_code_4_and_makes_no_file(
    executor: FakeExecutor, tmp_path: Path
) -> None:
    executor.refusal = refused(grpc.StatusCode.NOT_FOUND, "there is no such artifact", "unknown_artifact")
    result = await weftline("artifact", URI, "--out", str(tmp_path / "x"), executor=executor.address)
    assert (result.code, result.err) == (4, "error: There is no such artifact.\n")
    assert os.listdir(tmp_path) == []


async def test_a_file_that_can_not_be_written_is_bad_usage(executor: FakeExecutor, tmp_path: Path) -> None:
    executor.artifact = [b"x"]
    result = await weftline("artifact", URI, "--out", str(tmp_path / "no" / "x"), executor=executor.address)
    assert result.code == 2
    assert "can't be written: No such file or directory." in result.err


async def test_a_pipe_is_written_to_and_not_replaced(executor: FakeExecutor, tmp_path: Path) -> None:
    executor.artifact = [b"x" * 100]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = await start("artifact", URI, "--out", str(pipe), executor=executor.address)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert (await finish(process)).code == 0
        assert os.read(reading, 1000) == b"x" * 100
    finally:
        os.close(reading)
    assert pipe.is_fifo()


async def test_a_terminal_gets_text_that_can_not_steer_it(executor: FakeExecutor) -> None:
    executor.artifact = [b'"\xc3', b'\xa9\x1b[2J"']
    async with on_terminal("artifact", URI, executor=executor.address) as (process, terminal):
        assert (await terminal.read()).strip() == '"é�[2J"'
        assert await process.wait() == 0


@pytest.mark.parametrize("binary", [b"\x89PNG\xff", b"MZ\x00\x00", b"cut \xc3"], ids=["png", "zeros", "half a letter"])
async def test_a_terminal_gets_nothing_that_is_no_text(executor: FakeExecutor, binary: bytes) -> None:
    executor.artifact = [binary]
    async with on_terminal("artifact", URI, executor=executor.address) as (process, terminal):
        drawn = await terminal.read()
        assert "write it with --out FILE" in " ".join(drawn.split())
        assert await process.wait() == 2
