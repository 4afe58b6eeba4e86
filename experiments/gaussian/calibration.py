"""Whether test examples are draws of the Gaussian: their distances, and z-scores of numbers."""

import json
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from experiments.experiment import Trained
from jaxgen.classical import gaussian
from jaxgen.classical.vectors import to_vectors
from jaxgen.data import counted, subset
from jaxgen.files import write_atomically
from jaxgen.pixels import dequantize

_NUM = 1000
FILE = "calibration.json"


class Scores(NamedTuple):
    """Of test examples with uniform noise in their pixels' bins.

    Attributes:
        x: as they are, uint8 or vectors, `[N, ...]`.
        z: how far each number lies from what the others tell, in standard deviations, `[N, n]`.
        distance: ``d' C^-1 d``, `[N]`.
    """

    x: np.ndarray
    z: np.ndarray
    distance: np.ndarray


def score(trained: Trained) -> Scores:
    """Scores a random part of the test examples."""
    x = subset(trained.dataset.test, _NUM)["x"]
    levels = trained.info.levels
    if levels is None:
        vectors = to_vectors(jnp.asarray(x), None)
    else:
        vectors = dequantize(jax.random.key(0), jnp.asarray(x), levels).reshape(len(x), -1)

    @jax.jit
    def run(density: gaussian.Gaussian, vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
        return gaussian.one_number_residual(density, vectors), density.distance(vectors)

    z, distance = run(trained.state.params, vectors)
    return Scores(np.asarray(x), np.asarray(z), np.asarray(distance))


def diagnose(trained: Trained) -> None:
    """Prints beside what draws of the Gaussian would have, and writes it into the run."""
    scores = score(trained)
    num, size = scores.z.shape
    values = {
        "squared distance over numbers": (float(np.mean(scores.distance)) / size, 1.0),
        "deviation of it over sqrt(2 numbers)": (
            float(np.std(scores.distance)) / math.sqrt(2 * size),
            1.0,
        ),
        "deviation of z": (float(np.std(scores.z)), 1.0),
        "share of |z| above 2": (float(np.mean(np.abs(scores.z) > 2)), math.erfc(math.sqrt(2))),
        "share of |z| above 4": (float(np.mean(np.abs(scores.z) > 4)), math.erfc(math.sqrt(8))),
    }
    if num < 2:
        del values["deviation of it over sqrt(2 numbers)"]  # One example has none.
    table = rich.table.Table(
        "of test examples",
        title="Is the data Gaussian? z: a number given all others, in standard deviations",
        title_justify="left",
        caption=f"{counted(num, 'test example')} of {size} numbers",
    )
    table.add_column("seen", justify="right")
    table.add_column("draws of the Gaussian", justify="right")
    for name, (seen, expected) in values.items():
        table.add_row(name, f"{seen:.4g}", f"{expected:.2g}")
    rich.console.Console().print(table)
    written = {
        name: {"seen": seen, "expected": expected} for name, (seen, expected) in values.items()
    }
    text = json.dumps({"num": num, **written}, indent=2)
    write_atomically(trained.directory.path / FILE, text + "\n")
