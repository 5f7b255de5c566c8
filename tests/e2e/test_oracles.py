"""The answers to well-known examples of Argo Workflows keep what those promise."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.repository.layout import ROOT
from tests.support.executor_checks import check_run, ends, story
from tests.support.executor_client import CALL_SECONDS, Event, is_node, is_terminal
from tests.support.executor_engine import running_executor
from weftline.v1 import workflow_service_pb2 as pb

FOLDER = ROOT / "examples" / "argo"
NODES = "examples.argo.argo_nodes"


def definition(name: str, **changed: Any) -> str:
    """The JSON text of an oracle, with other settings or another type of the nodes that are named."""
    workflow = json.loads((FOLDER / f"{name}.json").read_text())
    for node in workflow["nodes"]:
        for key, value in changed.get(node["id"], {}).items():
            (node if key == "type" else node["data"])[key] = value
    return json.dumps(workflow)


async def run(text: str) -> list[Event]:
    """Runs a workflow to its end and gives its durable events, which are those of a sound run."""
    async with running_executor(nodes=(NODES,)) as executor:
        events = await executor.client.run(text)
    check_run(events)
    return events


def outcome(events: list[Event]) -> str:
    """How the run ended: `complete` or `error`."""
    return str(events[-1].WhichOneof("payload"))


def follows(events: list[Event], first: str, then: str) -> bool:
    """Whether one node began only when the other had ended."""
    told = story(events)
    begun = told.index(f"{then} running")
    return max(place for place, line in enumerate(told) if line.startswith(f"{first} ")) < begun


async def test_a_diamond_runs_its_sides_after_its_top_and_its_bottom_after_both() -> None:
    events = await run(definition("diamond"))
    assert ends(events) == dict.fromkeys("ABCD", "success")
    edges = [("A", "B"), ("A", "C"), ("B", "D"), ("C", "D")]
    assert [follows(events, *each) for each in edges] == [True] * 4
    assert outcome(events) == "complete"


async def test_what_asks_for_a_failure_runs_and_what_asks_for_a_success_of_it_does_not() -> None:
    events = await run(definition("continue-on-fail"))
    assert ends(events) == {
        **dict.fromkeys("ACDF", "success"),
        **dict.fromkeys("BE", "error node_failed"),
        "G": "skipped upstream_failed",
    }
    assert outcome(events) == "error"
    assert events[-1].error.node_id == "E"


async def test_what_asks_for_a_failure_does_not_run_when_there_is_none() -> None:
    events = await run(definition("continue-on-fail", B={"type": "log"}))
    assert ends(events)["D"] == "skipped branch_not_taken"


@pytest.mark.parametrize(("coin", "other"), [("heads", "tails"), ("tails", "heads")])
async def test_the_result_is_that_of_the_side_that_ran(coin: str, other: str) -> None:
    workflow = json.loads(definition("conditional-parameters"))
    events = await run(json.dumps({**workflow, "config": {"params": {"coin": coin}}}))
    assert ends(events)[coin] == "success"
    assert ends(events)[other] == "skipped branch_not_taken"
    assert json.loads(events[-1].complete.outputs_json) == {"stepresult": coin}


async def test_a_coin_that_nobody_has_set_falls_on_one_side() -> None:
    events = await run(definition("conditional-parameters"))
    assert json.loads(events[-1].complete.outputs_json)["stepresult"] in ("heads", "tails")
    assert sorted(ends(events).values()) == ["skipped branch_not_taken", *["success"] * 4]


async def test_without_fail_fast_a_failure_ends_no_other_branch_and_the_run_fails_in_the_end() -> None:
    events = await run(definition("disable-fail-fast"))
    assert ends(events) == {**dict.fromkeys("ABDE", "success"), "C": "error node_failed"}
    assert story(events).count("C running") == 4
    assert follows(events, "C", "D")
    assert outcome(events) == "error"


async def test_a_node_runs_for_what_became_of_others_joined_with_and_and_or() -> None:
    events = await run(definition("enhanced-depends"))
    assert ends(events) == {
        **dict.fromkeys(("A", "B", *(f"should-execute-{number}" for number in (1, 2, 3))), "success"),
        "C": "error node_failed",
        "should-not-execute": "skipped branch_not_taken",
    }
    assert [follows(events, "C", f"should-execute-{number}") for number in (1, 2)] == [True, True]
    assert outcome(events) == "complete"


async def test_a_loop_runs_a_node_for_each_item_and_what_follows_when_all_have_ended() -> None:
    async with running_executor() as executor, executor.client.watch("", start_from=pb.WATCH_FROM_NOW) as watch:
        events = await executor.client.run(definition("loops"))
        await watch.until(lambda event: event.workflow_id == "w" and is_terminal(event))
    check_run(events)
    assert ends(events) == dict.fromkeys("ABC", "success")
    assert [follows(events, "A", "B"), follows(events, "B", "C")] == [True, True]
    said = [event.log.message for event in watch.durable if event.WhichOneof("payload") == "log"]
    assert said[0] == "A"
    assert sorted(said[1:-1]) == ["bar", "baz", "foo"]
    assert said[-1] == "C"


async def test_an_exit_handler_runs_at_the_end_of_each_task_before_what_depends_on_it() -> None:
    events = await run(definition("exit-handler"))
    handlers = [f"exit-{task}" for task in "ABCD"]
    assert ends(events) == dict.fromkeys([*"ABCD", *handlers], "success")
    assert [follows(events, task, f"exit-{task}") for task in "ABCD"] == [True] * 4
    assert [follows(events, handler, "D") for handler in handlers[:3]] == [True] * 3


async def test_an_exit_handler_runs_at_the_end_of_a_task_that_fails() -> None:
    events = await run(definition("exit-handler", B={"type": "fail"}))
    assert ends(events)["B"] == "error node_failed"
    assert ends(events)["exit-B"] == "success"
    assert ends(events)["D"] == "skipped upstream_failed"
    assert outcome(events) == "error"


@pytest.fixture
def _exits_0_the_third_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    drawn = iter([1, 1, 0])
    monkeypatch.setattr(f"{NODES}.choice", lambda codes: next(code for code in drawn if code in codes))
    yield
    assert list(drawn) == []


@pytest.mark.usefixtures("_exits_0_the_third_time")
async def test_a_node_is_tried_again_until_it_succeeds() -> None:
    events = await run(definition("retry-backoff"))
    told = ["running", "error exit_code", "pending retry"] * 2 + ["running", "success"]
    assert [" ".join(line.split()[1:]) for line in story(events)] == [each.removesuffix(" exit_code") for each in told]
    assert outcome(events) == "complete"


async def test_the_wait_before_another_attempt_grows_up_to_its_cap_and_attempts_to_their_limit() -> None:
    text = definition("retry-backoff", **{"retry-backoff": {"codes": [1]}})
    retry = json.loads(text)["nodes"][0]["data"]["policy"]["retry"]
    events = await run(text)
    assert story(events).count("retry-backoff running") == retry["attempts"] == 11
    waits = [(event.node.due_ms - event.timestamp_ms) / 1000 for event in events if event.node.reason == "retry"]
    most = [min(retry["delay"] * retry["factor"] ** number, retry["cap"]) for number in range(retry["attempts"] - 1)]
    assert most[:4] == [0.05, 0.1, 0.2, 0.25]
    assert [0 <= wait <= limit + 0.002 for wait, limit in zip(waits, most, strict=True)] == [True] * 10
    for before, after in pairwise(event for event in events if event.node.node_id):
        if before.node.reason == "retry":
            assert after.timestamp_ms >= before.node.due_ms
    assert outcome(events) == "error"


@pytest.mark.parametrize(("codes", "safe", "attempts"), [([2], True, 11), ([2], False, 1), ([1], True, 1)])
async def test_only_what_the_node_says_may_be_tried_again_is(codes: list[int], safe: bool, attempts: int) -> None:
    text = definition("retry-conditional", **{"safe-to-retry": {"values": {"result": safe}}, "retry": {"codes": codes}})
    events = await run(text)
    assert story(events).count("retry running") == attempts
    assert ends(events) == {"safe-to-retry": "success", "retry": "error exit_code"}
    assert outcome(events) == "error"


async def test_what_follows_a_suspended_node_has_what_it_was_completed_with() -> None:
    async with running_executor() as executor, executor.client.watch(telemetry=True) as watch:
        await executor.client.start(definition("suspend-outputs"))
        await watch.until(is_node("approve", "pending"))
        answer = pb.CompleteNodeRequest(workflow_id="w", node_id="approve", data_json='{"message": "Hello, world!"}')
        await executor.client.stub.CompleteNode(answer, timeout=CALL_SECONDS)
        await watch.until(is_terminal)
        events = watch.durable
    check_run(events)
    assert ends(events) == {"approve": "success completed", "release": "success"}
    assert "Hello, world!" in [event.log.message for event in watch.events]


def test_every_oracle_is_run_here_and_described() -> None:
    text, page = Path(__file__).read_text(), (FOLDER / "README.md").read_text()
    names = {path.stem for path in FOLDER.glob("*.json")}
    assert {name for name in names if f'definition("{name}"' not in text} == set()
    assert {name for name in names if f"`{name}.json`" not in page} == set()
