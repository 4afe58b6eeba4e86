"""Memory that was freed in small pieces goes back to the system."""

import ctypes
import pathlib
import subprocess
import sys

import pytest

# In a process of its own, whose heap has no pieces of others.
PROGRAM = """
import ctypes, re, pathlib
from jaxgen.training.memory import return_freed_memory

def resident():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\\s+(\\d+)", status)[1])

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
pieces = [libc.malloc(4096) for _ in range(16_000)]
for piece in pieces:
    ctypes.memset(piece, 1, 4096)
# The last piece stays: glibc would return those at the end of its heap by itself.
for piece in pieces[:-1]:
    libc.free(piece)
before = resident()
return_freed_memory()
print((before - resident()) / (16_000 * 4096))
"""


@pytest.mark.skipif(
    not (pathlib.Path("/proc/self/status").exists() and hasattr(ctypes.CDLL(None), "malloc_trim")),
    reason="needs glibc",
)
def test_freed_pieces_are_returned():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 0.8
