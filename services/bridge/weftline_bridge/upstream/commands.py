"""Makes the executor's call for each command of a client."""

from __future__ import annotations

from collections.abc import Awaitable

from weftline.v1 import workflow_service_pb2 as pb
from weftline.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from weftline_bridge.protocol.inbound import Complete, Pause, Request, Rerun, Resume, Retry, Start, Stop

_PAUSE_MODES = {"drain": pb.PAUSE_MODE_DRAIN, "immediate": pb.PAUSE_MODE_IMMEDIATE}
_STOP_MODES = {"graceful": pb.STOP_MODE_GRACEFUL, "terminate": pb.STOP_MODE_TERMINATE}

CommandResponse = (
    pb.StartWorkflowResponse
    | pb.PauseWorkflowResponse
    | pb.ResumeWorkflowResponse
    | pb.StopWorkflowResponse
    | pb.RetryWorkflowResponse
    | pb.RerunWorkflowResponse
    | pb.CompleteNodeResponse
)


def command_call(stub: WorkflowServiceStub, request: Request, by: str, timeout: float) -> Awaitable[CommandResponse]:
    """Call what carries a command out on behalf of `by`, within `timeout` seconds.

    Raises TypeError for a request that is no command.
    """
    metadata = (("traceparent", request.traceparent),) if request.traceparent else None
    about = {"workflow_id": request.workflow_id, "command_id": request.id, "by": by}
    call: Awaitable[CommandResponse]
    match request:
        case Start():
            start = pb.StartWorkflowRequest(definition_json=request.definition, **about)
            call = stub.StartWorkflow(start, timeout=timeout, metadata=metadata)
        case Pause():
            pause = pb.PauseWorkflowRequest(mode=_PAUSE_MODES[request.mode], reason=request.reason, **about)
            call = stub.PauseWorkflow(pause, timeout=timeout, metadata=metadata)
        case Resume():
            resume = pb.ResumeWorkflowRequest(reason=request.reason, **about)
            call = stub.ResumeWorkflow(resume, timeout=timeout, metadata=metadata)
        case Stop():
            stop = pb.StopWorkflowRequest(
                mode=_STOP_MODES[request.mode], grace_ms=request.grace_ms, reason=request.reason, **about
            )
            call = stub.StopWorkflow(stop, timeout=timeout, metadata=metadata)
        case Retry():
            retry = pb.RetryWorkflowRequest(reason=request.reason, **about)
            call = stub.RetryWorkflow(retry, timeout=timeout, metadata=metadata)
        case Rerun():
            rerun = pb.RerunWorkflowRequest(from_node_id=request.from_node_id, **about)
            call = stub.RerunWorkflow(rerun, timeout=timeout, metadata=metadata)
        case Complete():
            complete = pb.CompleteNodeRequest(
                node_id=request.node_id, event=request.event, data_json=request.data, **about
            )
            call = stub.CompleteNode(complete, timeout=timeout, metadata=metadata)
        case _:
            raise TypeError(f"{type(request).__name__} is no command")
    return call
