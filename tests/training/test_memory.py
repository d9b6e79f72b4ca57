import platform
import subprocess
import sys

import pytest

from xtcq.training import memory

SCRIPT = """
import resource, runpy, sys

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (96 * 2**20)  # more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
runpy.run_path(sys.argv[1])["keep_freed_memory"]()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back in this way")
def test_freed_memory_is_used_again():
    # In a process of its own, since how memory is kept is a property of the process.
    command = [sys.executable, "-c", SCRIPT, memory.__file__]
    before, after = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert before > 40 > after
