"""Draws new images from a trained run.

python -m experiments.sample runs/vae --num 64 --out samples.png
"""

import dataclasses
import pathlib
from typing import Annotated

import jax
import numpy as np
import tyro

from experiments.runs import load_run
from experiments.settings import errors_exit, parse
from jaxgen import plots
from jaxgen.training.checkpoint import CheckpointError
from jaxgen.training.platform import configure


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to draw."""

    run: Annotated[str, tyro.conf.Positional]
    """Directory of a trained run."""
    num: int = 64
    """Number of images."""
    out: pathlib.Path = pathlib.Path("samples.png")
    """PNG to write: a sheet of all images."""
    label: int | None = None
    """Class to draw, where the model is conditional."""
    seed: int = 0
    """Of the draws."""


def main() -> None:
    """Restores the run, draws and writes the sheet."""
    settings = parse(Settings, "experiments.sample", __doc__)
    configure()
    with errors_exit(2, ValueError, CheckpointError, OSError):
        if settings.num < 1:
            raise ValueError(f"num: {settings.num}, expected at least 1")
        run = load_run(settings.run)
        label = None if settings.label is None else np.full(settings.num, settings.label, np.int32)
        key = jax.random.key(settings.seed)
        sample = jax.jit(run.algorithm.sample, static_argnums=2)
        x = np.asarray(sample(run.state, key, settings.num, label))
        plots.save_grid(settings.out, x, levels=run.info.levels)
    print(f"wrote {settings.num} samples of step {run.step} to {settings.out}")


if __name__ == "__main__":
    main()
