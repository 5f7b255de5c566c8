"""The names that the protocol fixes: message types, close codes, the subprotocol."""

from __future__ import annotations

from enum import IntEnum

SUBPROTOCOL = "weftline.v1"
ALL_WORKFLOWS = "*"

WORKFLOW_START = "workflow.start"
WORKFLOW_PAUSE = "workflow.pause"
WORKFLOW_RESUME = "workflow.resume"
WORKFLOW_STOP = "workflow.stop"
NODE_PENDING = "node.pending"
NODE_RUNNING = "node.running"
NODE_SUCCESS = "node.success"
NODE_ERROR = "node.error"
NODE_SKIPPED = "node.skipped"
EXECUTION_PROGRESS = "execution.progress"
EXECUTION_LOG = "execution.log"
EXECUTION_COMPLETE = "execution.complete"
EXECUTION_ERROR = "execution.error"
SYSTEM_STATUS = "system.status"
HEARTBEAT = "heartbeat"

CONNECTION_READY = "connection.ready"
CONNECTION_DRAINING = "connection.draining"
WORKFLOW_SUBSCRIBE = "workflow.subscribe"
WORKFLOW_UNSUBSCRIBE = "workflow.unsubscribe"
WORKFLOW_SUBSCRIBED = "workflow.subscribed"
WORKFLOW_SNAPSHOT = "workflow.snapshot"
WORKFLOW_RETRY = "workflow.retry"
WORKFLOW_RERUN = "workflow.rerun"
NODE_COMPLETE = "node.complete"
COMMAND_ACCEPTED = "command.accepted"
COMMAND_REJECTED = "command.rejected"
STREAM_GAP = "stream.gap"
DELIVERY_STATE = "delivery.state"
AUTH_REFRESH = "auth.refresh"

PLAIN_OUT = frozenset(
    {
        WORKFLOW_START,
        WORKFLOW_PAUSE,
        WORKFLOW_RESUME,
        WORKFLOW_STOP,
        NODE_PENDING,
        NODE_RUNNING,
        NODE_SUCCESS,
        NODE_ERROR,
        NODE_SKIPPED,
        EXECUTION_PROGRESS,
        EXECUTION_LOG,
        EXECUTION_COMPLETE,
        EXECUTION_ERROR,
        SYSTEM_STATUS,
        HEARTBEAT,
    }
)
PLAIN_IN = frozenset({WORKFLOW_START, WORKFLOW_PAUSE, WORKFLOW_RESUME, WORKFLOW_STOP, HEARTBEAT})
V1_OUT = PLAIN_OUT | {
    CONNECTION_READY,
    CONNECTION_DRAINING,
    WORKFLOW_SUBSCRIBED,
    WORKFLOW_SNAPSHOT,
    COMMAND_ACCEPTED,
    COMMAND_REJECTED,
    STREAM_GAP,
    DELIVERY_STATE,
}
V1_IN = PLAIN_IN | {
    WORKFLOW_SUBSCRIBE,
    WORKFLOW_UNSUBSCRIBE,
    WORKFLOW_RETRY,
    WORKFLOW_RERUN,
    NODE_COMPLETE,
    AUTH_REFRESH,
}

CATCH_UP_EVENTS, CATCH_UP_SMALLEST = CATCH_UP = ("events", "smallest")
LOG_LEVELS = {"debug": 1, "info": 2, "warn": 3, "error": 4}


class CloseCode(IntEnum):
    """Why the bridge closes a connection."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    INVALID_TEXT = 1007
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTARTING = 1012
    OVERLOADED = 1013
    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    UNSUPPORTED_SUBPROTOCOL = 4406
    HEARTBEAT_MISSED = 4408
    RATE_LIMITED = 4429
    TOO_SLOW = 4508
