"""The allocator keeps what was freed, where the C library can be told."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys
import numpy as np
from pixano_inference.serving.allocator import keep_freed_memory

assert sys.argv[1] == "plain" or keep_freed_memory(64)
np.ones(3 << 20, dtype=np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    # two blocks, so that the first is not the end of the heap
    np.ones(3 << 20, dtype=np.uint8), np.ones(1 << 20, dtype=np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    assert faults("kept") * 3 < faults("plain")
