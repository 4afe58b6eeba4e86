"""Samples of always the same keys while a method trains, as frames of a film."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from experiments.experiment import Method
from jaxgen.data import Dataset
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import PyTree


def make_draw(
    method: Method, dataset: Dataset, run: RunDirectory
) -> Callable[[int, PyTree], np.ndarray]:
    """Makes the function ``(step, state) -> picture`` that keeps a frame in the run."""
    sample = jax.jit(method.algorithm.sample, static_argnums=2)

    def draw(step: int, state: PyTree) -> np.ndarray:
        # Matplotlib is loaded here, since it would delay the first step.
        from experiments.sample_sheets import num_shown, sheet
        from jaxgen import plots

        num = num_shown(dataset)
        label = labels_in_turn(method, dataset.num_classes, num)
        picture = sheet(np.asarray(sample(state, jax.random.key(0), num, label)), dataset)
        plots.save_image(folder(run) / f"{step:09d}.png", picture)
        return picture

    return draw


def labels_in_turn(method: Method, num_classes: int | None, num: int) -> np.ndarray | None:
    """Classes evenly and in order, int32 `[num]`; None for a method without labels."""
    if not method.is_conditional or num_classes is None:
        return None
    return np.arange(num, dtype=np.int32) % num_classes


def folder(run: RunDirectory) -> pathlib.Path:
    """Where the frames lie."""
    return run.path / "film"
