"""Training speed of two VAEs: jaxgen's training loop beside PyTorch, pythae and plain flax.

    pip install -e ".[bench]"
    python -m benchmarks.vae_speed                    # both workloads
    python -m benchmarks.vae_speed --only conv --windows 15 --seconds 5

Every contestant trains the same networks on the same binary images in memory: float32, batches of
128, Adam, as many cores. Each is a process of its own; they take turns, window by window, so that
whatever else the machine does falls on all alike.
"""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.peers.common import BATCH_SIZE, Workload

ROOT = Path(__file__).parents[1]
JAXGEN = "jaxgen"
"""The contestant that is compared with the fastest of the others."""

MIN_STEPS = 10
"""Least number of steps in a turn."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a benchmark."""

    only: Literal["mlp", "conv"] | None = None
    """One workload alone."""
    contestants: tuple[str, ...] = ()
    """Names from the table's first column; all where none is given."""
    windows: int = 9
    """Turns of each contestant."""
    seconds: float = 4.0
    """Length of a turn, about."""
    threads: int = 2
    """Cores that a contestant may use."""
    json_out: Path | None = None
    """File for the numbers behind the table."""


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A program of `benchmarks/peers`: its file, its variant and its workloads."""

    module: str
    variant: str = "default"
    workloads: tuple[Workload, ...] = ("mlp", "conv")


CONTESTANTS = {
    JAXGEN: Contestant("jaxgen_program"),
    "flax": Contestant("flax_program"),
    "torch": Contestant("torch_program", "eager"),
    "torch channels_last": Contestant("torch_program", "channels_last", ("conv",)),
    "torch.compile": Contestant("torch_program", "compile"),
    "torch.compile channels_last": Contestant("torch_program", "compile_channels_last", ("conv",)),
    "pythae": Contestant("pythae_program", "step"),
    "pythae trainer": Contestant("pythae_program", "trainer"),
}


class WorkerError(RuntimeError):
    """A contestant's process died."""


class Worker:
    """A contestant's process: told numbers of steps, it answers with measurements."""

    def __init__(self, name: str, workload: Workload, threads: int, directory: Path) -> None:
        """Starts the process and waits for its first training step.

        Args:
            name: key of `CONTESTANTS`.
            workload: what it trains.
            threads: cores that it may use.
            directory: where a folder is made for its log and caches.

        Raises:
            WorkerError: if the process ends before it has trained.
        """
        contestant = CONTESTANTS[name]
        self.name = name
        self.speeds: list[float] = []
        self.peak_mib = 0.0
        arguments = [contestant.module, contestant.variant, workload, str(threads)]
        # Without spaces, which the compiler line of torch.compile cannot bear.
        folder = directory / f"{workload} {name}".replace(" ", "-")
        folder.mkdir()
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.peers.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, **_cold_caches(folder)},
            )
        self.start = self._read()
        self.last = self.start

    def run(self, num_steps: int) -> float:
        """Trains for at least a number of steps; returns steps per second."""
        assert self._process.stdin is not None
        multiple = self.start["step_multiple"]
        print(-(-num_steps // multiple) * multiple, file=self._process.stdin, flush=True)
        self.last = self._read()
        return self.last["steps"] / self.last["seconds"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            reason = "\n".join(self._log.read_text().splitlines()[-15:])
            raise WorkerError(f"{self.name} ended with code {self._process.returncode}:\n{reason}")
        return json.loads(line)


def _cold_caches(directory: Path) -> dict[str, str]:
    """Environment in which nothing that was compiled before is found, and all run on the CPU."""
    return {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(directory / "xla"),
        "TORCHINDUCTOR_CACHE_DIR": str(directory / "inductor"),
        "TRITON_CACHE_DIR": str(directory / "triton"),
    }


@contextlib.contextmanager
def _workers(workload: Workload, settings: Settings, console: Console) -> Iterator[list[Worker]]:
    """Starts the contestants of a workload, one after another; those that fail are left out."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        workers = []
        for name in settings.contestants or CONTESTANTS:
            if workload not in CONTESTANTS[name].workloads:
                continue
            console.print(f"{workload}: {name} compiles", style="dim")
            try:
                worker = Worker(name, workload, settings.threads, Path(directory))
            except WorkerError as error:
                console.print(f"left out: {error}", style="red", markup=False)
                continue
            stack.callback(worker.close)
            workers.append(worker)
        _check_same_size(workers)
        yield workers


def _check_same_size(workers: list[Worker]) -> None:
    sizes = {worker.name: worker.start["num_parameters"] for worker in workers}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the contestants' networks differ in parameters: {sizes}")


def measure(workload: Workload, settings: Settings, console: Console) -> list[dict[str, Any]]:
    """Runs all contestants of a workload in turn.

    Args:
        workload: what they train.
        settings: of the benchmark.
        console: for progress.

    Returns:
        one record a contestant, with the steps/s of every window.

    Raises:
        ValueError: if the contestants' networks differ in size.
    """
    with _workers(workload, settings, console) as workers:
        for worker in workers:
            # Once to warm up, once to learn how many steps fill a window.
            worker.run(MIN_STEPS)
            # Taken here, since jaxgen restarts its run for each window and keeps every program.
            worker.peak_mib = worker.last["peak_mib"]
            worker.run(MIN_STEPS)
        for window in range(settings.windows):
            for worker in workers:
                speed = worker.last["steps"] / worker.last["seconds"]
                num_steps = max(MIN_STEPS, round(settings.seconds * speed))
                worker.speeds.append(worker.run(num_steps))
            console.print(f"{workload}: window {window + 1} of {settings.windows}", style="dim")
        return [_record(worker) for worker in workers]


def _record(worker: Worker) -> dict[str, Any]:
    median = statistics.median(worker.speeds)
    first_steps = worker.start["step_multiple"] / median
    return {
        "name": worker.name,
        "num_parameters": worker.start["num_parameters"],
        "steps_per_second": median,
        "windows": worker.speeds,
        "compile_seconds": max(0.0, worker.start["first_step_seconds"] - first_steps),
        "peak_mib": worker.peak_mib,
        "loss": worker.last["loss"],
    }


def fastest_peer(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of the fastest contestant other than jaxgen (or jaxgen's, if it ran alone)."""
    peers = [record for record in records if record["name"] != JAXGEN] or records
    return max(peers, key=lambda record: record["steps_per_second"])


def ratios(record: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Speed of one contestant over that of another, window by window."""
    return [a / b for a, b in zip(record["windows"], other["windows"], strict=True)]


def table(workload: Workload, records: list[dict[str, Any]], threads: int) -> Table:
    """The results of a workload, fastest first."""
    peer = fastest_peer(records)
    result = Table(
        title=f"{workload} VAE of {peer['num_parameters']:,} parameters, batch {BATCH_SIZE}, "
        f"float32, {threads} cores",
        caption=f"ratio: speed over that of the fastest peer, {peer['name']}; loss: nats per image",
    )
    result.add_column("contestant", no_wrap=True)
    columns = ("steps/s", "ratio", "range", "compile s", "peak MiB", "loss")
    for column in columns:
        result.add_column(column, justify="right", no_wrap=True)
    for record in sorted(records, key=lambda record: -record["steps_per_second"]):
        ratio = ratios(record, peer)
        result.add_row(
            record["name"],
            f"{record['steps_per_second']:.1f}",
            f"{statistics.median(ratio):.2f}",
            f"{min(ratio):.2f} to {max(ratio):.2f}",
            f"{record['compile_seconds']:.1f}",
            f"{record['peak_mib']:.0f}",
            f"{record['loss']:.1f}",
            style="bold" if record["name"] == JAXGEN else None,
        )
    return result


def main(settings: Settings) -> None:
    """Runs the benchmark and prints one table a workload.

    Args:
        settings: of the benchmark.

    Raises:
        ValueError: if a setting is out of range or names no contestant.
    """
    unknown = set(settings.contestants) - set(CONTESTANTS)
    if unknown:
        raise ValueError(f"contestants: {sorted(unknown)}, expected some of {list(CONTESTANTS)}")
    if settings.windows < 1 or settings.seconds <= 0 or settings.threads < 1:
        raise ValueError(f"windows, seconds and threads must be positive, got {settings}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    results = {}
    workloads: tuple[Workload, ...] = (settings.only,) if settings.only else ("mlp", "conv")
    for workload in workloads:
        records = measure(workload, settings, console)
        results[workload] = records
        if records:
            console.print(table(workload, records, settings.threads))
    if settings.json_out is not None:
        settings.json_out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
