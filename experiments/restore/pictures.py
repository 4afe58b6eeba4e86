"""Pictures of restored images: truth, measurement, draws, their mean and where they differ."""

import pathlib

import jax.numpy as jnp
import numpy as np

from experiments.restore.solving import Problem
from jaxgen import plots

_NUM_SHOWN = 8
_NUM_DRAWS = 3  # Of up to two methods; of more one each.


def draw(
    folder: pathlib.Path,
    task: str,
    problem: Problem,
    restored: list[tuple[str, np.ndarray]],
    levels: int,
) -> None:
    """Writes TASK.png: a column for each image, and groups of rows for each method.

    Args:
        folder: to write into.
        task: name of the task.
        problem: truth and measurements.
        restored: name and draws `[D, N, H, W, C]` of each method.
        levels: number of pixel values of the data.
    """
    num = min(_NUM_SHOWN, len(problem.x))
    seen, words = problem.y[:num], "measured"
    if seen.shape[1:] != problem.x.shape[1:]:
        seen, words = np.asarray(problem.operator.pinv(jnp.asarray(seen))), "measured, led back"
    rows, labels = [problem.x[:num], seen], ["truth", words]
    for name, draws in restored:
        some = draws[: _NUM_DRAWS if len(restored) <= 3 else 1, :num]
        if len(draws) > 1:
            rows += [*some, draws.mean(axis=0)[:num], _deviation(draws)[:num]]
            labels += [f"{name}: draw"] + ["draw"] * (len(some) - 1) + ["mean", "deviation"]
        else:
            rows.append(draws[0, :num])
            labels.append(name)
    pixels = (np.stack(rows).clip(-1.0, 1.0) + 1.0) * 0.5 * (levels - 1)
    plots.labelled_grid(
        folder / f"{task}.png",
        pixels.round().astype(np.uint8),
        row_labels=labels,
        title=f"{task.replace('_', ' ')}, noise {problem.noise_std:g}; deviation: black 0, white 1",
        levels=levels,
    )


def _deviation(draws: np.ndarray) -> np.ndarray:
    """From -1 for 0 to 1 for 1."""
    return 2.0 * draws.std(axis=0, ddof=1) - 1.0
