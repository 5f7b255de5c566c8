"""The program of a worker process; the executor starts it with the descriptor of its socket as only argument."""

import faulthandler
import os
import socket
import sys

from weftline_executor.nodes.worker.attempt import run_attempt
from weftline_executor.nodes.worker.channel import Channel
from weftline_executor.nodes.worker.limits import forbid_core_dumps
from weftline_executor.nodes.worker.messages import Ready, Setup


def main(descriptor: int) -> None:
    """Do what the executor says until it closes the socket; never returns."""
    # What the node's code starts must not hold the line open.
    os.set_inheritable(descriptor, False)
    forbid_core_dumps()
    # So that a crash in compiled code shows up in the executor's log.
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    channel = Channel(socket.socket(fileno=descriptor))
    channel.start()
    channel.send(Ready())
    setup = channel.order()
    if not isinstance(setup, Setup):
        raise TypeError(f"the executor begins with {type(setup).__name__}")
    sys.path[:] = setup.path
    while True:
        order = channel.order()
        if isinstance(order, Setup):
            raise TypeError("the executor begins anew")
        channel.send(run_attempt(channel, order, setup.max_output))


if __name__ == "__main__":
    main(int(sys.argv[1]))
