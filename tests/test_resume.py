"""A run that is killed, stopped or damaged and started again ends as if it had not been."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEPS, STEPS_PER_CALL, CHECKPOINT_EVERY = 400, 10, 20
TINY = [str(ROOT / "tests/tiny.py")]
SETTINGS = {
    "steps": STEPS,
    "batch_size": 12,
    "steps_per_call": STEPS_PER_CALL,
    "checkpoint_every": CHECKPOINT_EVERY,
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A line that trains in a directory, and how to read what it left."""

    line: list[str]
    run_dir: Path

    def start(self) -> subprocess.Popen:
        environ = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, *self.line],
            env=environ,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self) -> str:
        """Runs to the end and returns all it printed."""
        process = self.start()
        try:
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
        assert process.returncode == 0, err
        return out + err

    def interrupt(self, is_time: Callable[[], bool], signum: int) -> tuple[int, str]:
        """Sends a signal as soon as `is_time` and returns the exit code and output."""
        process = self.start()
        try:
            deadline = time.monotonic() + 120
            while process.poll() is None and not is_time():
                assert time.monotonic() < deadline, "the moment never came"
                time.sleep(0.001)
            process.send_signal(signum)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        return process.returncode, out + err

    def metrics(self) -> str:
        path = self.run_dir / "metrics.jsonl"
        return path.read_text() if path.exists() else ""

    def num_rows(self) -> int:
        return self.metrics().count("\n")

    def steps(self) -> list[int]:
        names = os.listdir(self.run_dir / "checkpoints")
        return sorted(int(name) for name in names if name.isdigit())


def tiny(path: Path) -> Program:
    return Program([*TINY, str(path), json.dumps(SETTINGS)], path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Program:
    program = tiny(tmp_path_factory.mktemp("uninterrupted") / "run")
    program.run()
    return program


@pytest.fixture(scope="module")
def reference(uninterrupted) -> str:
    """The metrics of the uninterrupted run."""
    text = uninterrupted.metrics()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["step"] for row in rows] == [*range(10, STEPS + 1, STEPS_PER_CALL), STEPS]
    assert len(rows[-1]["params_sha256"]) == 64
    return text


def kill_and_finish(program: Program, reference: str, num_kills: int, seed: int) -> None:
    """Kills one run again and again, further on each time, and lets the last start finish."""
    rng = random.Random(seed)
    total = reference.count("\n")
    # The first moment is before any row: while it starts and compiles.
    for target in [0, *sorted(rng.randint(1, total - 4) for _ in range(num_kills - 1))]:
        delay = rng.uniform(0.0, 1.5 if target == 0 else 0.05)

        def is_time(target: int = target, delay: float = delay) -> bool:
            if program.num_rows() < target:
                return False
            time.sleep(delay)
            return True

        code, output = program.interrupt(is_time, signal.SIGKILL)
        assert code == -signal.SIGKILL, output
    program.run()
    assert program.metrics() == reference


def test_killed_at_random_moments(tmp_path, reference):
    kill_and_finish(tiny(tmp_path / "run"), reference, 3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_killed_at_more_random_moments(tmp_path, reference, seed):
    kill_and_finish(tiny(tmp_path / "run"), reference, 6, seed)


def test_killed_while_a_checkpoint_is_written(tmp_path, reference):
    program = tiny(tmp_path / "run")

    def is_saving() -> bool:
        return program.num_rows() >= 8 and any(tmp_path.glob("run/checkpoints/*.part"))

    code, output = program.interrupt(is_saving, signal.SIGKILL)
    assert code == -signal.SIGKILL, output
    program.run()
    assert program.metrics() == reference
    assert not list(tmp_path.glob("run/checkpoints/*.part"))


def test_stopped_by_signals(tmp_path, reference):
    program = tiny(tmp_path / "run")
    before = 0
    for signum, num_rows in ((signal.SIGHUP, 5), (signal.SIGINT, 20)):
        code, output = program.interrupt(lambda n=num_rows: program.num_rows() >= n, signum)
        assert code == 0, output
        assert "Traceback" not in output
        step = program.steps()[-1]
        assert before < step < STEPS
        assert not before or f"resumed at step {before}" in output
        assert f"stopped at step {step}" in output
        assert reference.startswith(program.metrics())
        assert json.loads(program.metrics().splitlines()[-1])["step"] == step
        before = step
    assert f"resumed at step {before}" in program.run()
    assert program.metrics() == reference


def test_nobody_reads_on(tmp_path, reference):
    program = tiny(tmp_path / "run")
    process = program.start()
    try:
        assert process.stdout.readline() == "step 0/400  compiling\n"
        process.stdout.close()
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.stderr.close()
    assert program.metrics() == reference


def test_finished_run_is_left_as_it_is(uninterrupted, reference):
    checkpoints = uninterrupted.run_dir / "checkpoints"
    before = {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*")}
    uninterrupted.run()
    assert uninterrupted.metrics() == reference
    assert {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*")} == before


def test_damaged_newest_checkpoint_is_passed_over(tmp_path, uninterrupted, reference):
    run_dir = tmp_path / "run"
    shutil.copytree(uninterrupted.run_dir, run_dir)
    program = tiny(run_dir)
    steps = program.steps()
    assert steps == [STEPS - 2 * CHECKPOINT_EVERY, STEPS - CHECKPOINT_EVERY, STEPS]
    data = max(
        (path for path in (run_dir / f"checkpoints/{STEPS}").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    output = program.run()
    assert f"checkpoint of step {STEPS}" in output
    assert "damaged" in output
    assert f"resumed at step {steps[1]}" in output
    assert program.metrics() == reference
    assert program.steps() == steps


COMMON = "--steps 300 --steps-per-call 10 --checkpoint-every 20 --hidden-sizes 16 --latent-dim 4"
VAE = "--importance-samples 4 --autoencoder-steps 20"
GAN = "--generator mlp --critic mlp --loss hinge --spectral --penalty none --draw-every 50"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "options", "results"),
    [
        ("vae", VAE, ("evaluation.json", "autoencoder/metrics.jsonl", "samples/latents.png")),
        ("gan", GAN, ("evaluation.json", "sample_metrics.json", "samples/film.gif")),
    ],
)
def test_command_line_killed_at_random_moments(tmp_path, experiment, options, results):
    def program(name: str) -> Program:
        run_dir = tmp_path / name
        settings = f"{COMMON} {options}".split()
        line = ["-m", f"experiments.{experiment}", "--run-dir", str(run_dir), *settings]
        return Program(line, run_dir)

    whole = program("whole")
    whole.run()
    killed = program("killed")
    kill_and_finish(killed, whole.metrics(), 5, seed=0)
    for name in results:
        assert (killed.run_dir / name).read_bytes() == (whole.run_dir / name).read_bytes(), name
