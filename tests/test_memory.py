"""Memory that was freed in small pieces goes back to the system."""

import ctypes
import re
from pathlib import Path

import pytest

from jaxgen.training.memory import return_freed_memory

STATUS = Path("/proc/self/status")
NUM_PIECES, SIZE = 16_000, 4096


def resident() -> int:
    """Bytes of the process that lie in memory."""
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", STATUS.read_text())[1])


@pytest.mark.skipif(
    not (STATUS.exists() and hasattr(ctypes.CDLL(None), "malloc_trim")), reason="needs glibc"
)
def test_freed_pieces_are_returned():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [libc.malloc(SIZE) for _ in range(NUM_PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, SIZE)
    # The last piece stays: glibc would return those at the end of its heap by itself.
    for piece in pieces[:-1]:
        libc.free(piece)
    before = resident()
    return_freed_memory()
    assert before - resident() > 0.5 * NUM_PIECES * SIZE
    libc.free(pieces[-1])
