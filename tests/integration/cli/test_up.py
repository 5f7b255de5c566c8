"""`weftline up` starts both services, runs a workflow, serves, and leaves nothing behind, however it ends."""

import json
import os
import re
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.integration.cli.process import finish, read_until, weftline
from tests.integration.cli.stack import Place, flow, free_place, gone, services_of

SERVING = "Serving; Ctrl-C ends it."


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return free_place(tmp_path)


def quick(folder: Path) -> str:
    return flow(folder, "quick", {"id": "a", "type": "noop"}, {"id": "b", "type": "output", "data": {"value": 7}})


async def test_once_it_runs_a_workflow_and_ends_with_its_exit_code(place: Place) -> None:
    result = await place.run("--run", quick(place.cwd), "--once")
    assert (result.code, result.err) == (0, "")
    assert f"http://{place.addresses[2]}/api/workflows\n" in result.out
    executor, executor_metrics, bridge, bridge_metrics = place.addresses
    for told in (f"ws://{bridge}", f"http://{bridge}/", executor, executor_metrics, bridge_metrics, ".weftline"):
        assert told in result.out
    assert "success  quick" in result.out
    assert '"b": 7' in result.out
    assert (place.cwd / ".weftline" / "logs" / "executor.log").stat().st_size > 0


async def test_once_a_failed_run_is_code_1(place: Place) -> None:
    result = await place.run("--run", flow(place.cwd, "bad", {"id": "a", "type": "fail"}), "--once")
    assert result.code == 1
    assert "failed at node a" in result.out


async def test_an_invalid_workflow_is_code_3_and_nothing_stays(place: Place) -> None:
    result = await place.run("--run", flow(place.cwd, "bad", {"id": "a", "type": "nope"}))
    assert result.code == 3
    assert "unknown_node_type" in result.err
    assert "(node a)" in result.err


async def test_json_begins_with_the_addresses(place: Place) -> None:
    result = await place.run("--run", quick(place.cwd), "--once", "--json")
    assert result.rows[0]["type"] == "up.ready"
    assert result.rows[0]["grpc"] == place.addresses[0]
    bridge = f"http://{place.addresses[2]}"
    assert [result.rows[0][key] for key in ("page", "workflows", "connections")] == [
        f"{bridge}/",
        f"{bridge}/api/workflows",
        f"{bridge}/api/connections",
    ]
    assert result.rows[-1]["type"] == "execution.complete"


async def test_what_it_serves_can_be_used_and_outlives_the_first_run(place: Place) -> None:
    async with place.up("--run", quick(place.cwd)) as process:
        await read_until(process, SERVING)
        again = await weftline("run", quick(place.cwd), executor=place.addresses[0])
        assert again.code == 0
        process.send_signal(signal.SIGTERM)
        assert (await finish(process)).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_everything_cleanly(place: Place, number: int) -> None:
    async with place.up() as process:
        await read_until(process, SERVING)
        services = list(services_of(process).values())
        assert len(services) == 2
        process.send_signal(number)
        result = await finish(process)
        assert (result.code, result.err) == (0, "Stopped.\n")
        assert await gone(services)


@pytest.mark.parametrize("name", ["executor", "bridge"])
async def test_when_one_service_dies_it_says_so_and_ends_the_other(place: Place, name: str) -> None:
    async with place.up() as process:
        await read_until(process, SERVING)
        services = services_of(process)
        services[name].kill()
        result = await finish(process)
        assert result.code == 1
        assert f"The {name} ended with signal 9" in result.err
        assert await gone(list(services.values()))


async def test_after_a_kill_of_everything_it_goes_on_with_the_same_run(place: Place) -> None:
    """Killing `up` alone ends the services too, and frees their ports and the data directory."""
    file = flow(place.cwd, "long", {"id": "wait", "type": "delay", "data": {"seconds": 3600}})
    async with place.up("--run", file) as process:
        seen = await read_until(process, "running    wait")
        services = list(services_of(process).values())
        os.kill(process.pid, signal.SIGKILL)
        await finish(process)
        assert await gone(services)
    began = re.search(r"started +run (\S+)", seen)
    assert began is not None
    async with place.up("--run", file, "--once") as process:
        seen = await read_until(process, "long is running: 0 of 1 node succeeded, 1 running")
        assert f"Joined the active run {began[1]} of long." in seen
        assert (await weftline("stop", "long", executor=place.addresses[0])).code == 0
        result = await finish(process)
        assert result.code == 7
        assert f"stopped    run {began[1]}" in result.out


async def test_a_port_in_use_is_named_with_its_option_before_anything_starts(place: Place) -> None:
    with socket.socket() as other:
        host, port = place.addresses[2].split(":")
        other.bind((host, int(port)))
        other.listen()
        result = await place.run()
    assert result.code == 1
    assert result.err == (
        f"error: {place.addresses[2]} is in use by another process. Choose another with --bridge-listen HOST:PORT.\n"
    )
    assert not (place.cwd / ".weftline" / "logs" / "executor.log").exists()


async def test_one_address_for_two_services_is_refused(place: Place) -> None:
    result = await place.run("--bridge-metrics", place.addresses[0])
    assert result.code == 1
    assert f"--executor-listen and --bridge-metrics are both {place.addresses[0]}." in result.err


async def test_a_directory_that_cannot_be_written_is_named_with_its_option(place: Place) -> None:
    (place.cwd / "file").write_text("")
    result = await place.run("--data-dir", str(place.cwd / "file" / "data"))
    assert result.code == 1
    assert "can't be written: Not a directory. Choose another with --data-dir." in result.err


@pytest.mark.parametrize("same_ports", [True, False])
async def test_a_weftline_that_runs_on_the_directory_is_recognised_before_its_ports(
    place: Place, same_ports: bool
) -> None:
    async with place.up() as first:
        await read_until(first, SERVING)
        second = place if same_ports else free_place(place.cwd)
        result = await second.run("--json")
        assert (result.code, result.out) == (1, "")
        assert json.loads(result.err)["error"] == {
            "code": "data_dir_in_use",
            "message": f"A Weftline is already running on the data directory {place.cwd / '.weftline'}. "
            "Use it, end it, or choose another directory with --data-dir.",
            "tail": [],
        }


async def test_a_service_that_cannot_start_is_quoted(place: Place) -> None:
    result = await place.run(WEFTLINE_EXECUTOR_CONCURRENCY="none")
    assert result.code == 1
    assert "error: The executor ended with exit code" in result.err
    assert "  | " in result.err
    assert "WEFTLINE_EXECUTOR_CONCURRENCY" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--once"], "--once goes with --run FILE"),
        (["--bridge-listen", "8080"], "--bridge-listen takes HOST:PORT"),
        (["--bridge-listen", "127.0.0.1:0"], "--bridge-listen takes HOST:PORT"),
        (["--run", "nowhere.json"], "nowhere.json can't be read"),
    ],
)
async def test_bad_usage_is_code_2_and_starts_nothing(place: Place, arguments: list[str], words: str) -> None:
    before = psutil.Process().children(recursive=True)
    result = await place.run(*arguments)
    assert result.code == 2
    assert words in result.err
    assert [each for each in psutil.Process().children(recursive=True) if each not in before] == []
    assert not (place.cwd / ".weftline").exists()
