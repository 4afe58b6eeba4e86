"""Trains an adversarial method on a mixture of Gaussians with several seeds at once, and keeps its result."""

import dataclasses
import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training import EVALUATION_SEED
from jaxgen.data import toy
from jaxgen.files import write_atomically
from jaxgen.metrics import ModeCounts, count_modes
from jaxgen.training.progress import Progress
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm, Array, Key, PyTree


class Mixture(NamedTuple):
    """An equal mixture of round Gaussians in the plane.

    Attributes:
        centres: of the modes, float64 `[K, 2]`.
        std: standard deviation of each mode along each axis.
    """

    centres: np.ndarray
    std: float

    @property
    def density(self) -> toy.ToyDensity:
        """Its exact sampler and log-density."""
        return toy.gaussians(self.centres, std=self.std)

    def draw(self, num: int) -> np.ndarray:
        """Samples of the mixture itself, `[num, 2]`, the same at every call."""
        return np.asarray(self.density.sample(jax.random.key(EVALUATION_SEED), num))


_ANGLES = np.arange(8) * np.pi / 4
_AXIS = np.arange(-4.0, 4.1, 2.0)
MIXTURES = {
    "ring": Mixture(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1), 0.01),
    "grid": Mixture(np.array([(x, y) for x in _AXIS for y in _AXIS]), 0.05),
}
"""The mixtures of PacGAN (Lin et al. 2018)."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of the seeds of one method; lists of T dispatches hold lists of S seeds.

    Attributes:
        steps: generator steps behind each dispatch, `[T]`.
        modes: modes found, `[T][S]`.
        good_share: share of good samples, `[T][S]`.
        kl: divergence of the modes from uniform at the end, in nats, `[S]`; None where no sample is good.
        generator_gradient: mean norm of the generator's gradient in a dispatch, `[T][S]`.
        seconds: of training all seeds, compilation included.
    """

    steps: list[int]
    modes: list[list[int]]
    good_share: list[list[float]]
    kl: list[float | None]
    generator_gradient: list[list[float]]
    seconds: float


def train(
    algorithm: Algorithm,
    mixture: Mixture,
    *,
    name: str,
    seeds: Sequence[int],
    steps: int,
    steps_per_call: int,
    batch_size: int,
    num_samples: int,
) -> tuple[Result, np.ndarray]:
    """Trains all seeds at once and counts modes after each dispatch.

    Args:
        algorithm: adversarial method of vectors.
        mixture: to learn, drawn anew for each step.
        name: to show.
        seeds: of the runs.
        steps: generator steps of each run.
        steps_per_call: steps of a dispatch; it divides `steps`.
        batch_size: real examples of a step.
        num_samples: samples of each seed behind a count.

    Returns:
        The result, and the last samples of all seeds, `[S, num_samples, 2]`.
    """
    start, initialize, advance = time.monotonic(), *_programs(algorithm, mixture, batch_size)
    sample = jax.jit(
        jax.vmap(
            lambda state: algorithm.sample(state, jax.random.key(EVALUATION_SEED), num_samples)
        )
    )
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    states = initialize(keys)
    counts, gradients = [], []
    ends = list(range(steps_per_call, steps + 1, steps_per_call))
    print(name)
    with Progress(steps) as progress:
        for end in ends:
            states, norms = advance(states, keys, jnp.arange(end - steps_per_call, end))
            points = np.asarray(sample(states))
            counts.append([_count(run, mixture) for run in points])
            gradients.append([float(norm) for norm in norms])
            modes = np.mean([count.num_found for count in counts[-1]])
            share = np.mean([count.good_share for count in counts[-1]])
            progress.update(end, {"modes": modes, "good share": share})
    return Result(
        steps=ends,
        modes=[[count.num_found for count in row] for row in counts],
        good_share=[[count.good_share for count in row] for row in counts],
        kl=[count.kl if np.isfinite(count.kl) else None for count in counts[-1]],
        generator_gradient=gradients,
        seconds=time.monotonic() - start,
    ), points


def _programs(
    algorithm: Algorithm, mixture: Mixture, batch_size: int
) -> tuple[Callable[[Key], PyTree], Callable[..., tuple[PyTree, Array]]]:
    """Compiled beginnings and dispatches of all seeds: step t of a seed has the key `fold_in(seed, t + 1)`."""
    draw = mixture.density.sample

    def initialize(key: Key) -> PyTree:
        return algorithm.init(jax.random.fold_in(key, 0), {"x": draw(key, 1)})

    def advance(state: PyTree, key: Key, steps: Array) -> tuple[PyTree, Array]:
        def step(state: PyTree, index: Array) -> tuple[PyTree, Array]:
            data_key, step_key = jax.random.split(jax.random.fold_in(key, index + 1))
            state, metrics = algorithm.step(state, {"x": draw(data_key, batch_size)}, step_key)
            return state, metrics["generator_gradient_norm"]

        state, norms = jax.lax.scan(step, state, steps)
        return state, jnp.mean(norms)

    # On two cores four seeds at once take 0.7 to 0.9 of the time of one after another, with one critic step or with
    # large networks; with a penalty and small ones it is a draw.
    return (
        jax.jit(jax.vmap(initialize)),
        jax.jit(jax.vmap(advance, in_axes=(0, 0, None)), donate_argnums=0),
    )


def _count(points: np.ndarray, mixture: Mixture) -> ModeCounts:
    """Counts modes; a sample that is not finite belongs to none."""
    far = 1e6 * np.max(np.abs(mixture.centres))
    return count_modes(np.nan_to_num(points, nan=far, posinf=far, neginf=-far), *mixture)


def results_file(run: RunDirectory) -> Any:
    """Where the results of all methods of a run lie."""
    return run.path / "results.json"


def load_results(run: RunDirectory) -> dict[str, Result]:
    """Reads the results of the methods that are done; none if there is no file."""
    path = results_file(run)
    if not path.is_file():
        return {}
    return {name: Result(**values) for name, values in json.loads(path.read_text()).items()}


def save_result(run: RunDirectory, name: str, result: Result, points: np.ndarray) -> None:
    """Adds a method to the results of a run, and writes its samples beside them."""
    buffer = io.BytesIO()
    np.save(buffer, points)
    write_atomically(points_file(run, name), buffer.getvalue())
    results = {**load_results(run), name: result}
    values = {name: dataclasses.asdict(result) for name, result in results.items()}
    write_atomically(results_file(run), json.dumps(values, indent=1) + "\n")


def points_file(run: RunDirectory, name: str) -> Any:
    """Where the last samples of a method lie, `[S, num_samples, 2]`."""
    return run.path / "points" / f"{name}.npy"
