"""Facts about the parts of a worker process: what it sends and how often, its bounds, and how it finds a type."""

import subprocess
import sys
import threading
import time

import msgspec
import pytest

from weftline_executor.nodes.worker.attempt import TypeNotFound, find_type
from weftline_executor.nodes.worker.messages import (
    LENGTH,
    Log,
    Message,
    Partial,
    Progress,
    frame,
    from_worker,
)
from weftline_executor.nodes.worker.sink import INTERVAL, MAX_LOGS, WorkerSink


class Line:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.came = threading.Condition()

    def send(self, message: Message) -> None:
        with self.came:
            self.messages.append(message)
            self.came.notify_all()

    def progress(self) -> list[float]:
        """The progress that was sent."""
        return [message.fraction for message in self.messages if isinstance(message, Progress)]


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def sink(line: Line) -> WorkerSink:
    return WorkerSink(line.send, lambda: False)


def test_a_message_survives_its_frame() -> None:
    message = Log("info", "text", msgspec.Raw(b'{"n":1}'))
    data = frame(message)
    (length,) = LENGTH.unpack(data[: LENGTH.size])
    assert length == len(data) - LENGTH.size
    assert from_worker.decode(data[LENGTH.size :]) == message


def test_progress_is_sent_at_most_every_50_ms_and_the_newest_in_the_end(line: Line, sink: WorkerSink) -> None:
    begun = time.monotonic()
    for step in range(1, 1001):
        sink.progress(step / 1000, None)
    with line.came:
        assert line.came.wait_for(lambda: line.progress()[-1] == 1.0, timeout=10)
    assert len(line.progress()) <= 2 + (time.monotonic() - begun) / INTERVAL


def test_progress_that_does_not_grow_is_not_sent(line: Line, sink: WorkerSink) -> None:
    sink.progress(0.5, None)
    sink.progress(0.4, None)
    sink.close()
    assert line.progress() == [0.5]


def test_what_waits_is_sent_when_the_attempt_ends_and_nothing_after_it(line: Line, sink: WorkerSink) -> None:
    sink.progress(0.1, None)
    sink.progress(0.2, None)
    sink.partial("so far")
    sink.close()
    sink.progress(0.3, "late")
    sink.log("info", "late", {})
    assert line.messages == [Progress(0.1), Progress(0.2), Partial("so far")]


def test_log_lines_that_nobody_keeps_are_not_sent(line: Line, sink: WorkerSink) -> None:
    for number in range(MAX_LOGS + 10):
        sink.log("info", str(number), {})
    assert len(line.messages) == MAX_LOGS


def test_what_json_cannot_hold_is_sent_as_text(line: Line, sink: WorkerSink) -> None:
    sink.log("warn", "half \ud800", {"half": "\ud800", "object": {1, 2}})
    [sent] = line.messages
    assert isinstance(sent, Log)
    assert (sent.message, bytes(sent.context)) == ("half ?", b'{"half":"\'\\\\ud800\'","object":"{1, 2}"}')


def test_a_context_that_is_too_large_is_left_out(line: Line, sink: WorkerSink) -> None:
    sink.log("info", "text", {"large": "x" * (1 << 20)})
    [sent] = line.messages
    assert isinstance(sent, Log)
    assert bytes(sent.context) == b'{"truncated":true}'


def test_a_type_is_found_in_the_module_that_declares_it() -> None:
    assert find_type("process.nap", "tests.support.process_nodes").name == "process.nap"


@pytest.mark.parametrize(
    ("module", "reason"), [("no.such.module", "fails to import"), ("tests.support.test_nodes", "holds no such type")]
)
def test_a_type_that_is_not_there_is_named(module: str, reason: str) -> None:
    with pytest.raises(TypeNotFound, match=reason) as caught:
        find_type("process.nap", module)
    assert (caught.value.name, caught.value.module) == ("process.nap", module)


def in_a_process(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own, whose bounds nobody else shares."""
    program = f"from weftline_executor.nodes.worker.limits import *\n{code}"
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process")
def test_a_bound_on_memory_counts_what_is_taken_beyond_what_is_there_and_can_be_lifted() -> None:
    code = """
there = bytearray(200 << 20)
bound_memory(100 << 20)
fits = bytearray(50 << 20)
try:
    bytearray(100 << 20)
except MemoryError:
    print("too much")
bound_memory(0)
print(len(bytearray(100 << 20)) >> 20)
"""
    assert in_a_process(code).stdout == "too much\n100\n"


def test_a_bound_on_computing_time_counts_from_now_on_and_can_be_lifted() -> None:
    code = """
import signal, time
signal.signal(signal.SIGXCPU, lambda *_: print("too long") or exit(0))
spent = time.process_time()
bound_cpu(1)
bound_cpu(0)
while time.process_time() < spent + 2.5:
    pass
print("not bound")
bound_cpu(1)
while True:
    pass
"""
    assert in_a_process(code).stdout == "not bound\ntoo long\n"


def test_it_is_seen_whether_a_process_has_left_others_behind() -> None:
    code = """
import subprocess, sys
print(has_children())
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(has_children())
child.kill()
child.wait()
print(has_children())
"""
    assert in_a_process(code).stdout == "False\nTrue\nFalse\n"
