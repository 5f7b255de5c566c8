"""The same runs are watched by gRPC and over the bridge, from real services: the lines are the same, byte for byte."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.integration.cli.process import DEADLINE_S, Result, finish, read_until, start, weftline
from tests.support.executor_gates import Gate, Marks
from tests.support.executor_graphs import definition, node
from tests.support.stack import Stack, running_stack

WORKFLOW = "report"
JSON = ("--until-end", "--json")
SAID = {"message": "é\u2028\U0001f600 <b>", "context": {"ms": 1.50, "none": None, "deep": {"b": 1, "a": [1e3]}}}


def everything(marks: Marks, gate: Gate) -> str:
    """A workflow that waits, and then logs, retries, fails and recovers, skips, and maps over bodies that log."""
    return definition(
        [
            node("hold", "test.step", gate=str(gate)),
            node("say", "test.say", **SAID),
            node("flaky", "test.flaky", marks=str(marks), failures=2, policy={"retry": {"attempts": 3, "delay": 0.01}}),
            node("echo", "test.echo", value={"z": 1, "a": [1.0, 1e-7, "é"], "": None}),
            node("which", "condition", expression="{{ false }}"),
            node("never"),
            node("below"),
            node("fails", "test.complain", message="n\u00f8", code="as_agreed", details={"b": 1, "a": 2},
                 policy={"onError": "fail_branch"}),
            node("rescue"),
            node("each", "map", items=[1, 2, 3], workflow={"nodes": [node("told", "test.say", **SAID)], "edges": []}),
            node("many", "test.echo", value="x" * 40_000),
            node("out", "output", value="{{ nodes.echo.output }}"),
        ],
        *("hold>say", "say>flaky", "flaky>echo", "echo>which", "which:true>never", "never>below", "which:false>fails"),
        *("fails:error>rescue", "rescue>each", "each>many", "many>out"),
    )  # fmt: skip


def services(folder: Path) -> AbstractAsyncContextManager[Stack]:
    return running_stack(folder, WEFTLINE_EXECUTOR_NODES="tests.support.test_nodes")


async def begin(stack: Stack, text: str, workflow_id: str = WORKFLOW) -> None:
    """Start a run, and let it go on."""
    file = stack.folder / f"{workflow_id}.json"
    file.write_text(text)
    result = await weftline("run", str(file), "--detach", executor=stack.executor_address)
    assert result.code == 0, result.err


async def watching(stack: Stack, *arguments: str) -> list[Process]:
    """Two watches that have begun: by gRPC, and over the bridge."""
    return [
        await start("watch", *arguments, executor=stack.executor_address),
        await start("watch", *arguments, "--bridge", stack.http),
    ]


async def both(stack: Stack, *arguments: str) -> list[Result]:
    """What a watch by gRPC says, and one over the bridge."""
    return [await finish(process) for process in await watching(stack, *arguments)]


async def bodies_of(stack: Stack) -> list[str]:
    """The workflows that are bodies of nodes."""
    listed = (await weftline("ls", "--bodies", "--json", executor=stack.executor_address)).rows
    return sorted(each["workflowId"] for each in listed if each["workflowId"] != WORKFLOW)


def durable(text: str) -> list[str]:
    """The lines of durable events."""
    return [line for line in text.split("\n") if '"seq"' in line and "seq" in json.loads(line)]


def seqs(text: str) -> list[int]:
    return [json.loads(line)["seq"] for line in durable(text)]


async def test_a_run_with_everything_prints_the_same_bytes_live_and_from_the_log(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    past = (WORKFLOW, "--from", "start")
    async with services(tmp_path) as stack:
        await begin(stack, everything(Marks(tmp_path / "marks"), gate))
        live = await watching(stack, WORKFLOW, *JSON)
        states = [await read_until(process, "workflow.snapshot") for process in live]
        gate.open()
        grpc, bridge = [await finish(process) for process in live]
        logged = await both(stack, *past, *JSON)
        told = await both(stack, *past, "--until-end")
        ended = await both(stack, WORKFLOW, *JSON)
        bodies = await both(stack, (await bodies_of(stack))[0], "--from", "start", *JSON)
    assert (grpc.code, bridge.code, bridge.err) == (0, 0, "")
    assert states[0] == states[1]
    assert durable(bridge.out) == durable(grpc.out)
    assert seqs(logged[0].out) == list(range(1, len(durable(logged[0].out)) + 1))
    assert durable(logged[0].out)[-len(durable(grpc.out)) :] == durable(grpc.out)
    for one, other in (logged, told, bodies):
        assert one == other
        assert one.code == 0
        assert one.out
    assert [each.code for each in ended] == [0, 0]
    found = [json.loads(line) for line in durable(logged[0].out)]
    assert {each["type"] for each in found} >= {"execution.log", "node.skipped", "node.error", "execution.complete"}
    assert {each["payload"].get("reason") for each in found} >= {"retry", "upstream_skipped"}
    assert any("artifact" in each["payload"] for each in found)


async def test_all_workflows_print_the_same_bytes_each_in_its_order(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    async with services(tmp_path) as stack:
        await begin(stack, everything(Marks(tmp_path / "marks"), gate))
        live = await watching(stack, "--all", "--json", "--no-telemetry")
        seen = [await read_until(process, "workflow.snapshot") for process in live]
        gate.open()
        last = f'"workflowId":"{WORKFLOW}","runId"'
        for at, process in enumerate(live):
            while not any('"execution.complete"' in line and last in line for line in seen[at].split("\n")):
                seen[at] += await read_until(process, '"execution.complete"')
            process.terminate()
        codes = [(await finish(process)).code for process in live]
        names = [WORKFLOW, *(await bodies_of(stack))]
    assert codes == [143, 143]
    assert len(names) == 4
    of_each = [
        [[line for line in durable(text) if json.loads(line)["workflowId"] == name] for name in names] for text in seen
    ]
    assert of_each[0] == of_each[1]
    assert all(of_each[0])


class Outage:
    """A run of two nodes that wait, watched over the bridge from its first event to its end."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.gates = [Gate(stack.folder / "gate-1"), Gate(stack.folder / "gate-2")]
        self.text = definition(
            [
                node("one", "test.step", gate=str(self.gates[0])),
                *(node(f"say-{number}", "test.say", **SAID) for number in range(20)),
                node("two", "test.step", gate=str(self.gates[1])),
            ],
            *(f"one>say-{number}" for number in range(20)),
            *(f"say-{number}>two" for number in range(20)),
        )

    async def begin(self, url: str = "") -> tuple[Process, str]:
        """The watch, and what it said until the first node waited."""
        await begin(self.stack, self.text)
        arguments = (WORKFLOW, "--from", "start", *JSON, "--bridge", url or self.stack.http)
        process = await start("watch", *arguments)
        return process, await read_until(process, "node.running")

    async def end(self, process: Process, seen: str) -> Result:
        """How the watch ended, which has to have shown all that the log holds."""
        self.gates[1].open()
        result = await finish(process)
        assert result.code == 0, result.err
        logged = await weftline("watch", WORKFLOW, "--from", "start", *JSON, executor=self.stack.executor_address)
        assert durable(seen + result.out) == durable(logged.out)
        return result


async def test_a_killed_bridge_that_comes_back_costs_no_event(tmp_path: Path) -> None:
    async with services(tmp_path) as stack:
        outage = Outage(stack)
        process, seen = await outage.begin()
        await stack.bridge.kill()
        outage.gates[0].open()
        await said(process, "The connection to the bridge broke")
        await stack.bridge.start()
        await stack.bridge_ready()
        seen += await read_until(process, '"nodeId":"two","status":"running"')
        result = await outage.end(process, seen)
    assert "Connected again." in result.err


async def test_of_all_workflows_what_was_missed_while_the_bridge_was_away_is_shown(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    names = [f"w-{number}" for number in range(3)]
    async with services(tmp_path) as stack:
        for name in names:
            await begin(
                stack, definition([node("hold", "test.step", gate=str(gate)), node("say", "test.say", **SAID)]), name
            )
        process = await start("watch", "--all", "--json", "--no-telemetry", "--bridge", stack.http)
        states = ""
        while states.count("workflow.snapshot") < len(names):
            states += await read_until(process, "workflow.snapshot")
        await stack.bridge.kill()
        gate.open()
        for name in names:
            await weftline("watch", name, "--until-end", executor=stack.executor_address)
        await stack.bridge.start()
        seen = ""
        while seen.count('"type":"execution.complete"') < len(names):
            seen += await read_until(process, '"type":"execution.complete"')
        process.terminate()
        await finish(process)
        logs = [
            await weftline("watch", name, "--from", "start", *JSON, executor=stack.executor_address) for name in names
        ]
    first = {each["workflowId"]: each["payload"]["seq"] for each in map(json.loads, states.split("\n")[:-1])}
    for name, log in zip(names, logs, strict=True):
        assert [line for line in durable(seen) if json.loads(line)["workflowId"] == name] == durable(log.out)[
            first[name] :
        ]


async def test_a_bridge_that_restarts_in_an_orderly_way_is_waited_for_as_it_asks(tmp_path: Path) -> None:
    async with services(tmp_path) as stack:
        outage = Outage(stack)
        process, seen = await outage.begin()
        assert await stack.bridge.terminate() == 0
        assert "1012 (restarting)" in await said(process, "The connection to the bridge broke")
        await stack.bridge.start()
        outage.gates[0].open()
        await outage.end(process, seen)


async def test_a_killed_executor_that_comes_back_costs_no_event_and_is_told(tmp_path: Path) -> None:
    async with services(tmp_path) as stack:
        outage = Outage(stack)
        process, seen = await outage.begin()
        await stack.executor.kill()
        await said(process, "The bridge has lost the executor")
        outage.gates[0].open()
        await stack.executor.start()
        await stack.executor_ready()
        await said(process, "The bridge has the executor again.")
        await outage.end(process, seen)


async def test_a_replaced_log_is_shown_by_its_state_and_followed(tmp_path: Path) -> None:
    async with services(tmp_path) as stack:
        outage = Outage(stack)
        await begin(stack, outage.text)
        process = await start("watch", WORKFLOW, "--from", "start", "--json", "--bridge", stack.http)
        await read_until(process, "node.running")
        await stack.bridge.kill()
        await stack.executor.kill()
        (tmp_path / "data").rename(tmp_path / "old-data")
        await stack.executor.start()
        await stack.executor_ready()
        await begin(stack, outage.text)
        await stack.bridge.start()
        seen = await read_until(process, "workflow.snapshot")
        for gate in outage.gates:
            gate.open()
        after = await read_until(process, '"type":"execution.complete"')
        process.terminate()
        result = await finish(process)
        logged = await weftline("watch", WORKFLOW, "--from", "start", *JSON, executor=stack.executor_address)
    state = json.loads(seen.split("\n")[-2])
    assert "the executor has another log than before" in result.err
    assert durable(after) == durable(logged.out)[state["payload"]["seq"] :]


async def said(process: Process, words: str) -> str:
    """The line on standard error that has these words."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while line := (await process.stderr.readline()).decode():
            if words in line:
                return line
    raise AssertionError(f"it ended without saying {words!r}")
