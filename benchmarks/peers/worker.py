"""One contestant in a process of its own: reads numbers of steps from stdin, answers with seconds.

`python -m benchmarks.peers.worker MODULE VARIANT WORKLOAD THREADS` prints one JSON object for its
start, then one for each line it reads, and ends when stdin is closed. A line is a number of
training steps, or "draw" and a number of draws.
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
        module: file in `benchmarks/peers` that has `build`, and `data`, by workload, if that is
            other than the binary images.
        variant: passed to `build`.
        workload: passed to `build`.
        threads: cores that the process may use.
        out: where the answers go.
    """
    _limit_cores(threads)
    contestant = importlib.import_module(f"benchmarks.peers.{module}")
    data = contestant.data(workload) if hasattr(contestant, "data") else common.images()
    start = time.perf_counter()
    program: common.Program = contestant.build(workload, variant, data, threads)
    build_seconds = time.perf_counter() - start
    first = program.run(program.step_multiple)
    _answer(
        out,
        first,
        first_step_seconds=build_seconds + first.seconds,
        num_parameters=program.num_parameters,
        step_multiple=program.step_multiple,
        can_draw=program.draw is not None,
    )
    for line in sys.stdin:
        *kind, number = line.split()
        if kind:
            assert kind == ["draw"] and program.draw is not None
            _answer(out, common.timed_draws(program.draw, int(number)))
        else:
            _answer(out, program.run(int(number)))


if __name__ == "__main__":
    # Libraries may print: only the answers go to the pipe.
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), _answers)
