"""Facts about messages: every event of the engine has its place in the contract, with nothing lost."""

from typing import get_args

import pytest
from msgspec import Raw

from weftline.v1 import events_pb2 as pb
from weftline_executor.api.translate import (
    LOG_LEVELS,
    NODE_STATUSES,
    RUN_STATES,
    RUN_STATES_BACK,
    durable_event,
    run_summary,
    snapshot,
    telemetry_event,
)
from weftline_executor.model import events as model
from weftline_executor.model.records import RunRecord
from weftline_executor.model.states import LogLevel, NodeStatus, PendingReason, RunState, SkipReason, SuccessReason
from weftline_executor.replay import RunProjection

STOPPING = pb.RunStateChange(
    state=pb.RUN_STATE_STOPPING, by="ada", in_flight=["a", "b"], mode="graceful", reason="enough"
)
CASES: list[tuple[model.Event, pb.Event]] = [
    (
        model.RunStarted(5, 9, Raw(b'{"nodes": [1]}'), 3, "ada"),
        pb.Event(workflow_start=pb.WorkflowStart(definition_json='{"nodes": [1]}', by="ada", total_nodes=3)),
    ),
    (
        model.RunPaused(5, 9, RunState.PAUSING, "ada", ("a",), "drain", "lunch"),
        pb.Event(
            workflow_pause=pb.RunStateChange(
                state=pb.RUN_STATE_PAUSING, by="ada", in_flight=["a"], mode="drain", reason="lunch"
            )
        ),
    ),
    (
        model.RunResumed(5, 9, RunState.RUNNING, "bob"),
        pb.Event(workflow_resume=pb.RunStateChange(state=pb.RUN_STATE_RUNNING, by="bob")),
    ),
    (
        model.RunStopping(5, 9, RunState.STOPPING, "ada", ("a", "b"), "graceful", "enough"),
        pb.Event(workflow_stop=STOPPING),
    ),
    (
        model.NodePending(5, 9, "a", 2, PendingReason.RECOVERED),
        pb.Event(node=pb.NodeTransition(node_id="a", status=pb.NODE_STATUS_PENDING, attempt=2, reason="recovered")),
    ),
    (
        model.NodeRunning(5, 9, "a", 2),
        pb.Event(node=pb.NodeTransition(node_id="a", status=pb.NODE_STATUS_RUNNING, attempt=2)),
    ),
    (
        model.NodeSucceeded(5, 9, "a", 1, 0, Raw(b"[1]"), "left"),
        pb.Event(
            node=pb.NodeTransition(
                node_id="a", status=pb.NODE_STATUS_SUCCESS, attempt=1, duration_ms=0, data_json="[1]", handle="left"
            )
        ),
    ),
    (
        model.NodeSucceeded(5, 9, "a", 1, 7),
        pb.Event(node=pb.NodeTransition(node_id="a", status=pb.NODE_STATUS_SUCCESS, attempt=1, duration_ms=7)),
    ),
    (
        model.NodeSucceeded(5, 9, "a", 1, 7, reason=SuccessReason.CACHED),
        pb.Event(
            node=pb.NodeTransition(
                node_id="a", status=pb.NODE_STATUS_SUCCESS, attempt=1, duration_ms=7, reason="cached"
            )
        ),
    ),
    (
        model.NodeSkipped(5, 9, "a", SkipReason.UPSTREAM_FAILED),
        pb.Event(node=pb.NodeTransition(node_id="a", status=pb.NODE_STATUS_SKIPPED, reason="upstream_failed")),
    ),
    (
        model.LogWritten(5, 9, LogLevel.WARN, "careful", "a", Raw(b'{"n":1}')),
        pb.Event(log=pb.Log(level=pb.LOG_LEVEL_WARN, message="careful", node_id="a", context_json='{"n":1}')),
    ),
    (
        model.RunCompleted(5, 9, RunState.STOPPED, 4, 6, 3, 2, 1, Raw(b'{"o":1}')),
        pb.Event(
            complete=pb.RunComplete(
                status=pb.RUN_STATE_STOPPED,
                duration_ms=4,
                total_nodes=6,
                completed_nodes=3,
                failed_nodes=2,
                skipped_nodes=1,
                outputs_json='{"o":1}',
            )
        ),
    ),
    (
        model.RunFailed(5, 9, "it failed", "node_failed", "a", Raw(b"{}")),
        pb.Event(error=pb.RunError(error="it failed", code="node_failed", node_id="a", details_json="{}")),
    ),
]


@pytest.mark.parametrize(("event", "wanted"), CASES, ids=[type(event).__name__ for event, _ in CASES])
def test_an_event_becomes_the_message_of_the_contract(event: model.Event, wanted: pb.Event) -> None:
    head = pb.Event(id="r-5", workflow_id="w", run_id="r", seq=5, timestamp_ms=9)
    head.MergeFrom(wanted)
    assert durable_event("w", "r", event) == head


def test_a_failure_becomes_a_message_with_what_a_person_and_a_program_need() -> None:
    node = durable_event("w", "r", model.NodeFailed(5, 9, "a", 1, 7, "it failed", "node_failed")).node
    assert (node.status, node.attempt, node.duration_ms) == (pb.NODE_STATUS_ERROR, 1, 7)
    assert (node.error, node.error_code) == ("it failed", "node_failed")


def test_every_kind_of_event_is_covered_here() -> None:
    covered = {type(event) for event, _ in CASES} | {model.NodeFailed}
    assert covered == set(get_args(model.Event))


def test_every_word_of_the_engine_has_its_number_in_the_contract() -> None:
    def numbers(enum: type[object], prefix: str) -> set[int]:
        return {number for name, number in enum.items() if name != f"{prefix}_UNSPECIFIED"}  # type: ignore[attr-defined]

    assert set(RUN_STATES) == set(RunState)
    assert set(RUN_STATES.values()) == numbers(pb.RunState, "RUN_STATE")
    assert {state: RUN_STATES_BACK[number] for state, number in RUN_STATES.items()} == {s: s for s in RunState}
    assert set(NODE_STATUSES) == set(NodeStatus)
    assert set(NODE_STATUSES.values()) == numbers(pb.NodeStatus, "NODE_STATUS")
    assert set(LOG_LEVELS) == set(LogLevel)
    assert set(LOG_LEVELS.values()) == numbers(pb.LogLevel, "LOG_LEVEL")


def test_progress_of_a_node_is_telemetry_with_an_id_of_its_own() -> None:
    message = telemetry_event("w", "r", 3, model.NodeProgressed(9, "a", 2, 0.25))
    assert message == pb.Event(
        id="r-t9-3",
        workflow_id="w",
        run_id="r",
        timestamp_ms=9,
        node=pb.NodeTransition(node_id="a", status=pb.NODE_STATUS_RUNNING, attempt=2, progress=0.25),
    )


def test_what_a_running_node_has_so_far_is_the_data_of_its_telemetry() -> None:
    message = telemetry_event("w", "r", 3, model.NodeProgressed(9, "a", 2, None, Raw(b'{"text":"so"}'))).node
    assert (message.status, message.data_json, message.HasField("progress")) == (
        pb.NODE_STATUS_RUNNING,
        '{"text":"so"}',
        False,
    )


@pytest.mark.parametrize("remaining", [None, 0, 1500])
def test_progress_of_a_run_is_telemetry_with_or_without_the_time_left(remaining: int | None) -> None:
    message = telemetry_event("w", "r", 1, model.RunProgressed(9, 6, 3, 2, 1, 0, "a", 0.5, remaining)).progress
    assert (message.total_nodes, message.completed_nodes, message.failed_nodes) == (6, 3, 2)
    assert (message.skipped_nodes, message.running_nodes, message.current_node) == (1, 0, "a")
    assert message.progress == 0.5
    assert message.HasField("estimated_remaining_ms") == (remaining is not None)
    assert message.estimated_remaining_ms == (remaining or 0)


def test_a_snapshot_holds_the_whole_state_with_the_nodes_in_the_order_given() -> None:
    events: list[model.Event] = [
        model.RunStarted(1, 10, Raw(b'{"nodes": []}'), 4, "ada"),
        model.NodeRunning(2, 11, "a", 1),
        model.LogWritten(3, 12, LogLevel.INFO, "hello", "a"),
        model.NodeSucceeded(4, 13, "a", 1, 2, Raw(b"1"), "left"),
        model.NodeRunning(5, 14, "b", 1),
        model.NodeFailed(6, 15, "b", 1, 3, "it failed", "node_failed"),
        model.NodeRunning(7, 16, "c", 1),
        model.RunPaused(8, 17, RunState.PAUSING, "ada", ("c",), "drain", "lunch"),
    ]
    projection = RunProjection.of("w", "r", events)
    projection.apply_progress("c", 1, 0.5)
    told = model.RunProgressed(20, 4, 1, 1, 0, 1, "c", 0.6, 70)
    message = snapshot(projection, ["d", "c", "b", "a"], "e", told)
    assert (message.workflow_id, message.run_id, message.epoch, message.seq) == ("w", "r", "e", 8)
    assert (message.state, message.by, message.reason) == (pb.RUN_STATE_PAUSING, "ada", "lunch")
    assert (message.started_ms, message.HasField("ended_ms")) == (10, False)
    assert message.definition_json == '{"nodes": []}'
    assert (message.progress.progress, message.progress.estimated_remaining_ms) == (0.6, 70)
    assert not message.HasField("error")
    assert list(message.logs) == [durable_event("w", "r", events[2])]
    d, c, b, a = message.nodes
    assert d == pb.NodeTransition(node_id="d", status=pb.NODE_STATUS_PENDING)
    assert c == pb.NodeTransition(node_id="c", status=pb.NODE_STATUS_RUNNING, attempt=1, progress=0.5)
    assert (b.node_id, b.error, b.error_code, b.duration_ms) == ("b", "it failed", "node_failed", 3)
    assert (a.node_id, a.data_json, a.handle, a.duration_ms) == ("a", "1", "left", 2)


def test_a_snapshot_of_an_ended_run_says_how_it_ended() -> None:
    failed = model.RunFailed(2, 30, "it failed", "node_failed", "a")
    projection = RunProjection.of("w", "r", [model.RunStarted(1, 10, Raw(b"{}"), 1), failed])
    message = snapshot(projection, [], "e", model.RunProgressed(30, 1, 0, 1, 0, 0, "", 1.0, None))
    assert (message.state, message.ended_ms) == (pb.RUN_STATE_ERROR, 30)
    assert message.error == pb.RunError(error="it failed", code="node_failed", node_id="a")


@pytest.mark.parametrize("ended_at", [None, 30])
def test_a_summary_says_whether_a_run_has_ended(ended_at: int | None) -> None:
    message = run_summary(RunRecord("w", "r", RunState.PAUSED, 3, 9, 10, ended_at, 2))
    assert (message.workflow_id, message.run_id, message.state) == ("w", "r", pb.RUN_STATE_PAUSED)
    assert (message.first_seq, message.last_seq, message.started_ms, message.total_nodes) == (3, 9, 10, 2)
    assert message.HasField("ended_ms") == (ended_at is not None)
