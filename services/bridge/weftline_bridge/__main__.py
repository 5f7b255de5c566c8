"""The `weftline-bridge` command: reads its settings, sets up logging, and runs the bridge."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence

import uvloop

# gRPC's core would write lines of its own form among the logs; it reads this when it is imported, and not again.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import msgspec

from weftline_bridge import __version__
from weftline_bridge.errors import ConfigurationError, ListenError, WorkerFailedError
from weftline_bridge.settings import ENV_PREFIX, Settings, load_settings
from weftline_bridge.supervisor import supervise
from weftline_bridge.tracing import Tracer
from weftline_bridge.workers.bond import tie
from weftline_bridge.workers.messages import Post

EXIT_CANNOT_LISTEN = 1
EXIT_BAD_SETTING = 2
EXIT_WORKER_FAILED = 3


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `worker` is in it where there are several."""

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._own = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; `time` is in seconds since the Unix epoch."""
        line = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._own,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bridge.

    The exit status is 0 after a signal, 1 if it can't listen, 2 for a bad setting, 3 if a worker can't be started.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        overrides = _overrides(given)
        told = overrides.pop("as_worker", None)
        post = None if told is None else msgspec.json.decode(told, type=Post)
        settings = load_settings(**overrides)
        _configure_logging(settings, post)
        if post is None and settings.workers > 1:
            uvloop.run(supervise(settings, given))
        elif post is None or tie(post.supervisor):
            _serve(settings, post)
    except ConfigurationError as error:
        print(f"weftline-bridge: {error}", file=sys.stderr)
        return EXIT_BAD_SETTING
    except ListenError as error:
        print(f"weftline-bridge: {error}", file=sys.stderr)
        return EXIT_CANNOT_LISTEN
    except WorkerFailedError as error:
        if error.status == EXIT_BAD_SETTING:
            return EXIT_BAD_SETTING
        print(f"weftline-bridge: {error}", file=sys.stderr)
        return EXIT_WORKER_FAILED
    return 0


def _serve(settings: Settings, post: Post | None) -> None:
    # A supervisor needs nothing of this, and is a third smaller without.
    from weftline_bridge.app import run  # noqa: PLC0415

    share = settings if post is None else settings.share(post.workers)
    uvloop.run(run(share, _load_tracer(settings), post))


def _load_tracer(settings: Settings) -> Tracer | None:
    if not settings.tracing:
        return None
    try:
        # Only here: a bridge that does not trace has no use for it, and perhaps does not have it.
        from weftline_bridge.tracing.otel import OtlpTracer  # noqa: PLC0415
    except ModuleNotFoundError as error:
        problem = f"this takes the extra `otel`, as in `weftline[bridge,otel]`: {error}"
        raise ConfigurationError(f"{ENV_PREFIX}TRACING", problem) from None
    return OtlpTracer(settings.tracing_ratio, __version__)


def _overrides(arguments: Sequence[str]) -> dict[str, str]:
    fields = Settings.model_fields
    parser = argparse.ArgumentParser(
        prog="weftline-bridge",
        description="Casts a Weftline executor's events to browsers as JSON over WebSocket.",
        epilog="Everything else is set by environment variables that begin with WEFTLINE_BRIDGE_.",
    )
    parser.add_argument("--version", action="version", version=f"weftline-bridge {__version__}")
    for name in ("listen", "metrics_listen", "executor"):
        field = fields[name]
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, metavar="HOST:PORT", help=f"{field.description} Default: {field.default}")
    workers = fields["workers"]
    parser.add_argument("--workers", metavar="N", help=f"{workers.description} Default: {workers.default}")
    # How a supervisor starts a worker; nobody else does.
    parser.add_argument("--as-worker", help=argparse.SUPPRESS)
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


def _configure_logging(settings: Settings, post: Post | None) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter(None if post is None else post.worker))
    else:
        who = "" if post is None else f" worker {post.worker}"
        form = f"%(asctime)s %(levelname)-7s{who} %(name)s: %(message)s"
        formatter = logging.Formatter(form, "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # It would log text that clients chose, once for every handshake with an unknown subprotocol.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
