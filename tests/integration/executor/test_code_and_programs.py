"""The node types `python` and `command`: off unless enabled, and whatever they run is kept within its bounds."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.integration.executor.test_processes import gone, output_of
from tests.support.executor_checks import check_run, ends
from tests.support.executor_client import Client, Event, is_terminal
from tests.support.executor_engine import SECRETS, RunningExecutor, running_executor
from tests.support.executor_gates import Notes
from tests.support.executor_graphs import chain, node
from tests.support.executor_process import executor_process
from weftline.v1 import events_pb2 as events_pb
from weftline.v1 import workflow_service_pb2 as pb

SPAWN = 'sleep 600 & echo $! >> "$0"; setsid sleep 601 & echo $! >> "$0"; echo $$ >> "$0"; wait'


@pytest.fixture
async def executor() -> AsyncIterator[RunningExecutor]:
    """An executor with both types."""
    async with running_executor(enable_nodes="python,command") as running:
        yield running


def python(code: str, **data: object) -> str:
    """A workflow of one node that runs code."""
    return chain(node("a", "python", code=code, **data), params={"p": 2})


def command(*argv: str, **data: object) -> str:
    """A workflow of one node that runs a program."""
    return chain(node("a", "command", argv=argv, **data), params={"p": "$HOME; echo two"})


def failure_of(events: list[Event]) -> tuple[str, str, dict[str, object]]:
    """How the node failed: code, error, details."""
    [failed] = [event.node for event in events if event.node.status == events_pb.NODE_STATUS_ERROR]
    details = json.loads(failed.data_json) if failed.data_json else {}
    return failed.error_code, failed.error, details


def logs_of(events: list[Event]) -> list[str]:
    """The log lines of a run."""
    return [event.log.message for event in events if event.HasField("log")]


@pytest.mark.parametrize("name", ["python", "command"])
async def test_a_type_that_is_off_is_refused_by_name_and_not_listed(name: str) -> None:
    other = {"python": "command", "command": "python"}[name]
    async with running_executor(enable_nodes=other) as executor:
        found = await executor.client.validate(chain(node("a", name)))
        listed = await executor.client.stub.ListNodeTypes(pb.ListNodeTypesRequest())
    [fault] = found.faults
    assert (fault.code, fault.path) == ("node_type_disabled", "nodes[0].type")
    assert f"WEFTLINE_EXECUTOR_ENABLE_NODES={name}" in fault.message
    names = {each.name: each for each in listed.node_types}
    assert name not in names
    assert names[other].idempotency == "unsafe"


async def test_code_sees_what_it_is_given_and_gives_what_it_returns(client: Client) -> None:
    code = "import math\nbig = [n for n in values['list'] if n > params['p']]\nreturn [big, math.tau > 6, inputs]"
    events = await client.run(python(code, values={"list": [1, 3, "{{ params.p * 2 }}"]}))
    check_run(events)
    assert output_of(events) == [[3, 4], True, {}]


async def test_braces_in_code_are_pythons(client: Client) -> None:
    assert output_of(await client.run(python("p = 7\nreturn f'{p} {{ params.p }}'"))) == "7 { params.p }"


async def test_code_may_wait_report_and_print(client: Client) -> None:
    code = """
import asyncio, sys
ctx.progress(0.5, "half")
await asyncio.sleep(0)
print("one", "two")
print("wrong", file=sys.stderr)
print("three\\nlines", end="")
return ctx.node_id
"""
    events = await client.run(python(code))
    assert output_of(events) == "a"
    assert logs_of(events) == ["half", "one two", "wrong", "three\nlines"]


@pytest.mark.parametrize(
    ("code", "failure", "error"),
    [
        ("x = 1\ny = x / 0\nreturn y", "node_raised", "ZeroDivisionError: division by zero (line 2: y = x / 0)"),
        (
            "def f():\n    raise KeyError('k')\n\nawait ctx.sleep(0)\nf()",
            "node_raised",
            "(line 2: raise KeyError('k'))",
        ),
        ("from weftline_executor.nodes import NodeFailed\nraise NodeFailed('no', 'nope')", "nope", "no"),
        ("yield 1", "bad_code", "must return"),
        ("return object()", "bad_output", "not JSON"),
        ("import os; os._exit(4)", "worker_lost", "ended with status 4"),
        ("ctx.secrets['NO_SUCH']", "secret_missing", "NO_SUCH"),
    ],
)
async def test_code_that_fails_says_where(client: Client, code: str, failure: str, error: str) -> None:
    events = await client.run(python(code))
    found, told, details = failure_of(events)
    assert (found, error in told) == (failure, True), told
    if failure == "node_raised":
        assert details["line"] == 2
        assert 'File "<code>", line 2' in str(details["traceback"])
        assert "weftline_executor" not in str(details["traceback"])


async def test_a_secret_that_code_reads_is_shown_nowhere(client: Client) -> None:
    events = await client.run(python("s = ctx.secrets['TOKEN']\nprint(s)\nraise ValueError(s)"), telemetry=True)
    assert failure_of(events)[0] == "node_raised"
    assert SECRETS["TOKEN"] not in str(events)
    assert logs_of(events) == ["***"]


async def test_code_that_is_no_python_is_a_fault_that_names_the_line(client: Client) -> None:
    found = await client.validate(python("x = 1\nif x\n  pass"))
    [fault] = found.faults
    assert (fault.path, fault.code) == ("nodes[0].data.code", "invalid_value")
    assert "line 2" in fault.message


async def test_a_program_is_given_its_arguments_as_they_are(client: Client) -> None:
    code = "import os, sys; print(sys.argv[1:], sys.stdin.read(), os.environ.get('MORE'), os.getcwd())"
    events = await client.run(
        command("python3", "-c", code, "{{ params.p }}", "a b", stdin={"n": 1}, env={"MORE": 3}, cwd="/")
    )
    check_run(events)
    shown = "['$HOME; echo two', 'a b'] {\"n\":1} 3 /"
    assert output_of(events) == {"exitCode": 0, "stdout": shown + "\n", "stderr": "", "truncated": False}
    assert logs_of(events) == [shown]


async def test_a_program_sees_few_variables_of_the_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEFTLINE_SECRET_TOKEN", "API_KEY", "SHOP_REGION"):
        monkeypatch.setenv(name, "seen")
    async with running_executor(enable_nodes="command", process_environment="SHOP_*") as executor:
        events = await executor.client.run(command("env", log=False))
    assert [line for line in str(output_of(events)).split("\\n") if line.endswith("=seen")] == ["SHOP_REGION=seen"]
    assert logs_of(events) == []


async def test_a_secret_in_the_environment_of_a_program_is_shown_nowhere(client: Client) -> None:
    events = await client.run(command("sh", "-c", 'echo "it is $T"; exit 3', secrets={"T": "TOKEN"}), telemetry=True)
    assert failure_of(events) == (
        "command_failed",
        "sh ended with exit code 3",
        {"exitCode": 3, "stdout": "it is ***\n", "stderr": ""},
    )
    assert SECRETS["TOKEN"] not in str(events)


@pytest.mark.parametrize(
    ("argv", "data", "code", "error"),
    [
        (("sh", "-c", "echo no >&2; exit 3"), {}, "command_failed", "sh ended with exit code 3"),
        (("sh", "-c", "kill -9 $$"), {}, "command_failed", "sh was ended by SIGKILL"),
        (("no-such-program",), {}, "command_not_found", "there is no program 'no-such-program'"),
        (("./no",), {}, "command_not_found", "there is no program './no'"),
        (("ls",), {"cwd": "/no/such"}, "command_not_found", "there is no folder '/no/such'"),
        (("sleep", "600"), {"timeout": 0.3}, "command_timeout", "sleep took longer than 0.3 s"),
    ],
)
async def test_a_program_that_fails_says_how(
    client: Client, argv: tuple[str, ...], data: dict[str, object], code: str, error: str
) -> None:
    found, told, _ = failure_of(await client.run(command(*argv, **data)))
    assert (found, error in told) == (code, True), told


async def test_an_exit_code_can_be_an_output_instead(client: Client) -> None:
    events = await client.run(command("sh", "-c", "exit 3", check=False))
    assert output_of(events) == {"exitCode": 3, "stdout": "", "stderr": "", "truncated": False}


async def test_of_what_a_program_writes_the_end_is_kept(client: Client) -> None:
    code = """
import sys
sys.stdout.buffer.write(b"\\x01" * (3 << 20))
print("end")
print("\\xe9" * 400000, file=sys.stderr)
"""
    look = node(
        "b",
        "python",
        code="return [text[-5:] for text in values['texts']]",
        values={
            "texts": ["{{ nodes.a.output.stdout }}", "{{ nodes.a.output.stderr }}"],
        },
    )
    writes = node("a", "command", argv=["python3", "-X", "utf8", "-c", code], log=False)
    events = await client.run(chain(writes, look, node("c", "set", values={"t": "{{ nodes.a.output.truncated }}"})))
    assert output_of(events, "b") == ["\x01end\n", "\xe9\xe9\xe9\xe9\n"]
    assert output_of(events, "c") == {"t": True}


async def test_a_program_and_all_that_it_started_end_when_the_run_is_stopped(client: Client, notes: Notes) -> None:
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(command("sh", "-c", SPAWN, str(notes)))
        started = await notes.wait(3)
        await client.stop()
        await watch.until(is_terminal)
    assert ends(watch.durable) == {"a": "error cancelled"}
    assert gone(started)


async def test_a_program_hears_of_its_end_before_it_is_killed(client: Client, notes: Notes) -> None:
    trap = 'trap "echo bye >> $0; exit 0" TERM; echo ready >> "$0"; while :; do sleep 0.05; done'
    async with client.watch(start_from=pb.WATCH_FROM_NOW) as watch:
        await client.start(command("sh", "-c", trap, str(notes)))
        await notes.wait(1)
        await client.stop()
        await watch.until(is_terminal)
    assert await notes.wait(2) == ["ready", "bye"]


async def test_what_a_program_leaves_behind_ends_with_it(client: Client, notes: Notes) -> None:
    events = await client.run(command("sh", "-c", SPAWN.removesuffix("; wait"), str(notes)))
    assert ends(events) == {"a": "success"}
    assert gone(await notes.wait(3))


async def test_a_killed_executor_leaves_no_program_and_the_run_waits_for_a_person(tmp_path: Path, notes: Notes) -> None:
    with executor_process(tmp_path, enable_nodes="command,python") as process:
        client = Client(process.address)
        await client.start(command("sh", "-c", SPAWN, str(notes)), "pauses")
        await notes.wait(3)
        again = command("sh", "-c", SPAWN, str(notes), repeatable=True)
        await client.start(again, "repeats")
        started = await notes.wait(6)
        everyone = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        process.kill9()
        assert gone([*started, *everyone])
        await client.channel.close()
        process.restart()
        client = Client(process.address)
        repeated = await notes.wait(9)
        assert (await client.snapshot("pauses")).reason == "unknown_outcome"
        await client.stop("pauses")
        await client.stop("repeats", mode=pb.STOP_MODE_TERMINATE)
        assert gone(repeated[6:])
        await client.channel.close()
