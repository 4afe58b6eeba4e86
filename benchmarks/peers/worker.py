"""One contestant in a process of its own: reads numbers of steps from stdin, answers with seconds.

`python -m benchmarks.peers.worker MODULE VARIANT WORKLOAD THREADS` prints one JSON object for its
start, then one for each line it reads, and ends when stdin is closed.
"""

import importlib
import json
import os
import resource
import sys
import time
from typing import TextIO

from benchmarks.peers import common


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return peak * unit / 2**20


def _limit_cores(threads: int) -> None:
    # JAX has no switch for its number of threads: it counts the cores that the process may use.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _answer(out: TextIO, window: common.Window, **more: float) -> None:
    answer = {**window._asdict(), "peak_mib": _peak_mib(), **more}
    print(json.dumps(answer), file=out, flush=True)


def main(module: str, variant: str, workload: str, threads: int, out: TextIO) -> None:
    """Starts a contestant and serves it until stdin is closed.

    Args:
        module: file in `benchmarks/peers` that has `build`.
        variant: passed to `build`.
        workload: passed to `build`.
        threads: cores that the process may use.
        out: where the answers go.
    """
    _limit_cores(threads)
    build = importlib.import_module(f"benchmarks.peers.{module}").build
    images = common.images()
    start = time.perf_counter()
    program: common.Program = build(workload, variant, images, threads)
    build_seconds = time.perf_counter() - start
    first = program.run(program.step_multiple)
    _answer(
        out,
        first,
        first_step_seconds=build_seconds + first.seconds,
        num_parameters=program.num_parameters,
        step_multiple=program.step_multiple,
    )
    for line in sys.stdin:
        _answer(out, program.run(int(line)))


if __name__ == "__main__":
    # Libraries may print: only the answers go to the pipe.
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), _answers)
