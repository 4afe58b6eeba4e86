"""Two processes on one machine train to the parameters of one with as many devices."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = {"steps": 25, "batch_size": 16, "steps_per_call": 10, "checkpoint_every": 10}


class Processes:
    """Processes that train one run together; all are killed at the end, however the test went."""

    def __init__(self, run_dir: Path, num_processes: int, num_devices: int, **settings):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        line = [sys.executable, str(ROOT / "tests/tiny.py"), str(run_dir)]
        line.append(json.dumps(SETTINGS | settings))
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_NUM_CPU_DEVICES": str(num_devices),
            # A pair of processes with two devices each hangs with fewer threads.
            "NPROC": "32",
        }
        joint = [[address, str(num_processes), str(i)] for i in range(num_processes)]
        self.run_dir = run_dir
        self.processes = [
            subprocess.Popen(
                [*line, *(arguments if num_processes > 1 else [])],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for arguments in joint
        ]

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.communicate()

    def finish(self) -> list[str]:
        """Waits for all, which must succeed, and returns what each printed."""
        outputs = [process.communicate(timeout=120)[0] for process in self.processes]
        for process, output in zip(self.processes, outputs, strict=True):
            assert process.returncode == 0, output
        return outputs

    def rows(self) -> list[dict]:
        path = self.run_dir / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


def train_both(path: Path, num_devices: int) -> tuple[list[dict], list[dict]]:
    """Rows of one process, and of two that have `num_devices` each."""
    with Processes(path / "one", 1, 2 * num_devices) as one:
        one.finish()
    with Processes(path / "two", 2, num_devices) as two:
        first, second = two.finish()
    assert "step 25/25" in first
    assert "step" not in second
    names = {path.name for path in (path / "two/checkpoints").iterdir()}
    assert names == {"10", "20", "25"}
    assert len(list((path / "two").glob("events.*"))) == 1
    assert len(one.rows()) == 4
    return one.rows(), two.rows()


def test_two_processes_have_the_bits_of_one(tmp_path):
    # A sum over two devices has one order only, so the digest is equal too.
    one, two = train_both(tmp_path, 1)
    assert two == one


@pytest.mark.slow
def test_two_processes_of_two_devices(tmp_path):
    # Four numbers are added in another order, so the loss rounds otherwise; the hash of all
    # examples and keys, in whole numbers, is the same.
    one, two = train_both(tmp_path, 2)
    for row, other in zip(one[:-1], two[:-1], strict=True):
        assert (row["step"], row["memory"]) == (other["step"], other["memory"])
        np.testing.assert_allclose(row["loss"], other["loss"], rtol=1e-5)


@pytest.mark.slow
def test_signal_to_one_stops_both_and_the_run_goes_on(tmp_path):
    # Long enough for the news of the signal, which takes seconds, to come round.
    long = {"steps": 20_000, "steps_per_call": 50, "checkpoint_every": 1000}
    with Processes(tmp_path / "one", 1, 2, **long) as one:
        one.finish()
    with Processes(tmp_path / "two", 2, 1, **long) as two:
        deadline = time.monotonic() + 120
        while not (tmp_path / "two/checkpoints/1000").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        two.processes[1].send_signal(signal.SIGTERM)
        outputs = two.finish()
    assert all("stopped at step" in output for output in outputs)
    stopped = two.rows()[-1]["step"]
    assert stopped < 20_000
    with Processes(tmp_path / "two", 2, 1, **long) as two:
        assert f"resumed at step {stopped}" in two.finish()[0]
    assert two.rows() == one.rows()
