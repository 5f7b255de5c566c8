"""Facts that hold for the events of every run."""

from collections import defaultdict

from weftline.v1 import events_pb2 as pb

_ENDED: tuple[int, ...] = (pb.NODE_STATUS_SUCCESS, pb.NODE_STATUS_ERROR, pb.NODE_STATUS_SKIPPED)
_NEXT: dict[int, set[int]] = {
    pb.NODE_STATUS_PENDING: {
        *(pb.NODE_STATUS_PENDING, pb.NODE_STATUS_RUNNING, pb.NODE_STATUS_SKIPPED),
        *(pb.NODE_STATUS_ERROR, pb.NODE_STATUS_SUCCESS),
    },
    pb.NODE_STATUS_RUNNING: {
        *(pb.NODE_STATUS_PENDING, pb.NODE_STATUS_SUCCESS, pb.NODE_STATUS_ERROR, pb.NODE_STATUS_SKIPPED)
    },
    pb.NODE_STATUS_ERROR: {pb.NODE_STATUS_PENDING},
}


def check_run(events: list[pb.Event]) -> None:
    """Asserts what every ended run's durable events have in common."""
    seqs = [event.seq for event in events]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert len({event.id for event in events}) == len(events)
    assert {event.run_id for event in events} == {events[0].run_id}
    kinds = [event.WhichOneof("payload") for event in events]
    assert kinds[0] == "workflow_start"
    assert kinds.count("workflow_start") == 1
    assert [kind for kind in kinds if kind in ("complete", "error")] == kinds[-1:]
    status: dict[str, int] = defaultdict(lambda: pb.NODE_STATUS_PENDING)
    for event in events:
        if event.WhichOneof("payload") == "node":
            assert event.node.status in _NEXT.get(status[event.node.node_id], set()), event
            status[event.node.node_id] = event.node.status
    assert len(status) == events[0].workflow_start.total_nodes
    assert all(value in _ENDED for value in status.values())


def _word(status: pb.NodeStatus.ValueType) -> str:
    return pb.NodeStatus.Name(status).removeprefix("NODE_STATUS_").lower()


def story(events: list[pb.Event]) -> list[str]:
    """The transitions of nodes in words, for example `a running`, `b skipped upstream_failed`."""
    return [
        f"{event.node.node_id} {_word(event.node.status)} {event.node.reason}".strip()
        for event in events
        if event.seq and event.WhichOneof("payload") == "node"
    ]


def ends(events: list[pb.Event]) -> dict[str, str]:
    """How each node ended, with the reason of a skip or the code of an error: `{"a": "success"}`."""
    found = {}
    for event in events:
        if event.seq and event.WhichOneof("payload") == "node" and event.node.status in _ENDED:
            found[event.node.node_id] = (
                f"{_word(event.node.status)} {event.node.reason or event.node.error_code}".strip()
            )
    return found


def most_at_once(events: list[pb.Event]) -> int:
    """The largest number of nodes that ran at one time, over all workflows in the events."""
    running: set[tuple[str, str]] = set()
    most = 0
    for event in events:
        if not event.seq or event.WhichOneof("payload") != "node":
            continue
        key = (event.workflow_id, event.node.node_id)
        if event.node.status == pb.NODE_STATUS_RUNNING:
            running.add(key)
        else:
            running.discard(key)
        most = max(most, len(running))
    return most
