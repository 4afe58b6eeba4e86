"""Draws new examples from a trained run; the settings of its family's samples may be changed.

python -m experiments.sample runs/vae --num 64 --out samples.png
python -m experiments.sample runs/gan --num 20000 --out samples.npz
python -m experiments.sample runs/gan --help
"""

import dataclasses
import pathlib
import signal
import sys
from typing import Annotated, Any, Generic

import jax
import numpy as np
import tyro

from experiments.command_line import errors_exit
from experiments.experiment import Method, Sampling
from experiments.film import labels_in_turn
from experiments.ranges import AT_LEAST_1, Range, check_settings, require
from experiments.runs import Restored, find_run, parse_for_run, restore_run
from experiments.sample_files import check_out, write_film, write_samples
from experiments.settings import DataInfo
from jaxgen.training import jax_setup
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.sampling import BLOCK_SIZE, sample_in_blocks
from jaxgen.types import Key


@dataclasses.dataclass(frozen=True)
class Settings(Generic[Sampling]):
    """What to draw."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained run."""
    sampling: Sampling
    num: Annotated[int, AT_LEAST_1] = 64
    """Number of samples."""
    out: pathlib.Path = pathlib.Path("samples.png")
    """FILE.png (a sheet of at most 1,024), FILE.npz (x, levels and label), FOLDER/ (a PNG each)."""
    label: int | None = None
    """Class to draw, where the model is conditional; by default all evenly, in order."""
    seed: Annotated[int, Range(0, 2**32)] = 0
    """Of the samples."""
    film: bool = False
    """Also write OUT.gif: how the first samples, up to 64, come to be, where they do so step by
    step."""

    def __post_init__(self) -> None:
        check_settings(self)


def main() -> None:
    """Restores the run, samples in blocks over all devices and writes them."""
    settings: Settings[Any] = parse_for_run(
        lambda run: run.sampling,
        lambda sampling: Settings(run=tyro.MISSING, sampling=sampling),
        "experiments.sample",
        __doc__,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Leaves no part of a file.
    with errors_exit(2, ValueError, CheckpointError, OSError):
        jax_setup.configure()
        run = find_run(settings.run)
        check_out(settings.out, settings.num, run.info)
        restored = restore_run(run, sampling=settings.sampling)
        label = make_labels(settings, restored.method, run.info)
        expected = "False, since these samples come in one step"
        require(not settings.film or restored.method.film is not None, "film", True, expected)
        key = jax.random.key(settings.seed)
        algorithm, state = restored.method.algorithm, restored.state
        blocks = sample_in_blocks(algorithm, state, key, settings.num, label)
        write_samples(settings.out, blocks, settings.num, label, run.info)
        print(f"wrote {settings.num} samples of step {restored.step} to {settings.out}")
        if settings.film:
            frames = make_film(restored, key, settings.num, label)
            path = settings.out.with_suffix(".gif")
            write_film(path, frames, run.info)
            print(f"wrote how they come to be to {path}")


def make_film(restored: Restored, key: Key, num: int, label: np.ndarray | None) -> np.ndarray:
    """The states `[F, N, ...]` of the first block of samples, up to `num` of them."""
    film: Any = restored.method.film
    classes = None if label is None else label[np.minimum(np.arange(BLOCK_SIZE), num - 1)]
    compiled = jax.jit(lambda film, state, key: film(state, key, BLOCK_SIZE, classes))
    return np.asarray(compiled(film, restored.state, jax.random.fold_in(key, 0)))[:, :num]


def make_labels(settings: Settings[Any], method: Method, info: DataInfo) -> np.ndarray | None:
    """The class of every sample, int32 `[num]`; None if the method is not conditional.

    Raises:
        ValueError: if a label is asked of an unconditional method, or is out of range.
    """
    label = settings.label
    if label is None:
        return labels_in_turn(method, info.num_classes, settings.num)
    require(method.is_conditional, "label", label, "none, since this model is not conditional")
    num_classes = info.num_classes or 0
    is_good = 0 <= label < num_classes
    require(is_good, "label", label, f"0 to {num_classes - 1}")
    return np.full(settings.num, label, np.int32)


if __name__ == "__main__":
    main()
