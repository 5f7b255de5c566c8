"""The executor's gRPC face: the only place that knows protobuf."""

from weftline_executor.api.server import ApiServer

__all__ = ["ApiServer"]
