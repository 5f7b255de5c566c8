"""Facts about how the executor's process treats large buffers."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import os
from weftline_executor.allocator import give_back_large_buffers
assert give_back_large_buffers()
page = os.sysconf("SC_PAGE_SIZE")
def used():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * page
# A buffer of 8 MiB that is let go is what glibc takes as a sign to keep those that follow.
bytearray(8 << 20)
before = used()
buffers, between = [], []
for _ in range(8):
    buffers.append(bytearray(b"x") * (4 << 20))
    between.append(bytearray(b"x") * 100_000)
buffers.clear()
print(used() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps large buffers, and can be told not to")
def test_large_buffers_that_are_let_go_are_given_back_though_small_ones_stay() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4 << 20
