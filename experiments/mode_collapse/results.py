"""What became of each method, and the files that keep it."""

import dataclasses
import io
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from experiments.mode_collapse.targets import Counts
from jaxgen.files import write_atomically
from jaxgen.training.run_directory import RunDirectory

_NUM_IMAGES_KEPT = 64


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of the seeds of one method; lists of T dispatches hold lists of S seeds.

    Attributes:
        steps: generator steps behind each dispatch, `[T]`.
        modes: modes found, `[T][S]`.
        good_share: share of good samples, `[T][S]`; of images `[T][0]`.
        kl: divergence of the modes from uniform, in nats, `[T][S]`; None where no sample is good.
        generator_gradient: mean norm of the generator's gradient in a dispatch, `[T][S]`; None
            where it is not finite.
        seconds: of training all seeds and counting, compilation included.
    """

    steps: list[int] = dataclasses.field(default_factory=list)
    modes: list[list[int]] = dataclasses.field(default_factory=list)
    good_share: list[list[float]] = dataclasses.field(default_factory=list)
    kl: list[list[float | None]] = dataclasses.field(default_factory=list)
    generator_gradient: list[list[float | None]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        """Generator steps done."""
        return self.steps[-1] if self.steps else 0

    def until(self, step: int) -> "Result":
        """What was known at a step."""
        num = sum(end <= step for end in self.steps)
        lists = {
            field.name: getattr(self, field.name)[:num]
            for field in dataclasses.fields(self)
            if field.name != "seconds"
        }
        return dataclasses.replace(self, **lists)

    def extended(
        self, step: int, counts: Sequence[Counts], gradients: Sequence[float], seconds: float
    ) -> "Result":
        """With one more dispatch, which took some seconds."""
        shares = [count.good_share for count in counts if count.good_share is not None]
        kl = [_finite(count.kl) for count in counts]
        norms = [_finite(gradient) for gradient in gradients]
        return Result(
            steps=[*self.steps, step],
            modes=[*self.modes, [count.num_found for count in counts]],
            good_share=[*self.good_share, shares],
            kl=[*self.kl, kl],
            generator_gradient=[*self.generator_gradient, norms],
            seconds=self.seconds + seconds,
        )


def _finite(value: float) -> float | None:
    """JSON knows no others."""
    return value if np.isfinite(value) else None


def results_file(run: RunDirectory) -> pathlib.Path:
    """Where the results of all methods of a run lie."""
    return run.path / "results.json"


def samples_file(run: RunDirectory, name: str) -> pathlib.Path:
    """Where the last samples of a method lie, `[S, N, ...]`."""
    return run.path / "final_samples" / f"{name}.npy"


def load_results(run: RunDirectory) -> dict[str, Result]:
    """Reads the results of the methods that have begun; none if there is no file."""
    path = results_file(run)
    if not path.is_file():
        return {}
    return {name: Result(**values) for name, values in json.loads(path.read_text()).items()}


def save_result(run: RunDirectory, name: str, result: Result, samples: np.ndarray) -> None:
    """Writes the result of a method among the others, and its samples beside them; of images the
    first 64 a seed.
    """
    buffer = io.BytesIO()
    np.save(buffer, samples if samples.ndim == 3 else samples[:, :_NUM_IMAGES_KEPT])
    write_atomically(samples_file(run, name), buffer.getvalue())
    results = {**load_results(run), name: result}
    values = {name: dataclasses.asdict(result) for name, result in results.items()}
    write_atomically(results_file(run), json.dumps(values, indent=1) + "\n")
