"""A contestant of a benchmark, and the process in which it trains."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A program of `benchmarks/peers`.

    Attributes:
        module: its file.
        variant: passed to the program.
        workloads: those it can train, or None for all.
        root: the checkout from which the program and jaxgen are imported.
    """

    module: str
    variant: str = "default"
    workloads: tuple[str, ...] | None = None
    root: Path = ROOT


class WorkerError(RuntimeError):
    """A contestant's process died."""


class Worker:
    """A contestant's process: told numbers of steps, it answers with measurements."""

    def __init__(
        self, name: str, contestant: Contestant, workload: str, threads: int, directory: Path
    ) -> None:
        """Starts the process and waits for its first training step.

        Args:
            name: of the contestant in the table.
            contestant: the program that the process runs.
            workload: what it trains.
            threads: cores that it may use.
            directory: where a folder is made for its log and caches.

        Raises:
            WorkerError: if the process ends before it has trained.
        """
        self.name = name
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
                cwd=contestant.root,
                env={**os.environ, **_cold_caches(folder)},
            )
        self.start = self._read()
        self.last = self.start

    @property
    def can_draw(self) -> bool:
        """Whether `draw` works."""
        # Checkouts of old do not say.
        return self.start.get("can_draw", False)

    def run(self, num_steps: int) -> float:
        """Trains for at least a number of steps; returns steps per second."""
        multiple = self.start["step_multiple"]
        return self._ask(str(-(-num_steps // multiple) * multiple))

    def draw(self, num_draws: int) -> float:
        """Draws examples a number of times; returns draws per second."""
        return self._ask(f"draw {num_draws}")

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        self._process.wait()

    def _ask(self, line: str) -> float:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)
        self.last = self._read()
        return self.last["steps"] / self.last["seconds"]

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
