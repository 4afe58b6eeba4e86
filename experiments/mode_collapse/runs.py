"""Trains an adversarial method with several seeds in one program, counts modes, and keeps the result."""

import dataclasses
import functools
import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mode_collapse.targets import Counts, Target
from experiments.training import EVALUATION_SEED
from jaxgen.files import write_atomically
from jaxgen.training.progress import Progress
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm, Array, Key, PyTree

_BLOCK_SIZE = 2500
_NUM_IMAGES_KEPT = 64


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of the seeds of one method; lists of T dispatches hold lists of S seeds.

    Attributes:
        steps: generator steps behind each dispatch, `[T]`.
        modes: modes found, `[T][S]`.
        good_share: share of good samples, `[T][S]`; of images `[T][0]`.
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
    target: Target,
    *,
    name: str,
    seeds: Sequence[int],
    steps: int,
    steps_per_call: int,
    batch_size: int,
    num_samples: int,
    map_seeds: Callable[..., Callable[..., Any]] = jax.vmap,
) -> tuple[Result, np.ndarray]:
    """Trains all seeds in one program and counts modes after each dispatch.

    Args:
        algorithm: adversarial method.
        target: to learn, drawn anew for each step.
        name: to show.
        seeds: of the runs.
        steps: generator steps of each run.
        steps_per_call: steps of a dispatch; it divides `steps`.
        batch_size: real examples of a step.
        num_samples: samples of each seed behind a count.
        map_seeds: `jax.vmap`, or `one_by_one` for networks that it would slow down.

    Returns:
        The result, and the last samples of all seeds, `[S, num_samples, ...]`.
    """
    start = time.monotonic()
    programs = _programs(algorithm, target, batch_size, num_samples)
    initialize, sample = (jax.jit(map_seeds(program)) for program in programs[:2])
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    advance = jax.jit(
        lambda data, states, steps: map_seeds(functools.partial(programs[2], data, steps))(
            states, keys
        ),
        donate_argnums=1,
    )
    states = initialize(keys)
    counts: list[list[Counts]] = []
    gradients = []
    ends = list(range(steps_per_call, steps + 1, steps_per_call))
    print(name)
    with Progress(steps) as progress:
        for end in ends:
            states, norms = advance(target.data, states, jnp.arange(end - steps_per_call, end))
            points = np.asarray(sample(states))
            counts.append([target.score(run) for run in points])
            gradients.append([float(norm) for norm in norms])
            progress.update(end, _means(counts[-1]))
    return Result(
        steps=ends,
        modes=[[count.num_found for count in row] for row in counts],
        good_share=[_good_shares(row) for row in counts],
        kl=[count.kl if np.isfinite(count.kl) else None for count in counts[-1]],
        generator_gradient=gradients,
        seconds=time.monotonic() - start,
    ), points


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap` as a loop in one program: convolutions over several kernels at once are slow on a CPU."""
    return lambda *args: jax.lax.map(lambda each: function(*each), args)


def _programs(
    algorithm: Algorithm, target: Target, batch_size: int, num_samples: int
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Beginning, samples and a dispatch of one seed: its step t has the key `fold_in(seed, t + 1)`."""

    def initialize(key: Key) -> PyTree:
        x = jnp.zeros((1, *target.shape), jnp.float32 if target.levels is None else jnp.uint8)
        return algorithm.init(jax.random.fold_in(key, 0), {"x": x})

    def sample(state: PyTree) -> Array:
        num_blocks = -(-num_samples // _BLOCK_SIZE)
        keys = jax.random.split(jax.random.key(EVALUATION_SEED), num_blocks)
        size = min(num_samples, _BLOCK_SIZE)
        x = jax.lax.map(lambda key: algorithm.sample(state, key, size), keys)
        return x.reshape(-1, *target.shape)[:num_samples]

    def advance(data: PyTree, steps: Array, state: PyTree, key: Key) -> tuple[PyTree, Array]:
        def step(state: PyTree, index: Array) -> tuple[PyTree, Array]:
            data_key, step_key = jax.random.split(jax.random.fold_in(key, index + 1))
            batch = {"x": target.draw(data, data_key, batch_size)}
            state, metrics = algorithm.step(state, batch, step_key)
            return state, metrics["generator_gradient_norm"]

        state, norms = jax.lax.scan(step, state, steps)
        return state, jnp.mean(norms)

    return initialize, sample, advance


def _good_shares(row: Sequence[Counts]) -> list[float]:
    """The shares of good samples; none of images."""
    return [count.good_share for count in row if count.good_share is not None]


def _means(row: Sequence[Counts]) -> dict[str, float]:
    """What is shown while it trains."""
    means = {"modes": float(np.mean([count.num_found for count in row]))}
    shares = _good_shares(row)
    return means | ({"good share": float(np.mean(shares))} if shares else {})


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
    """Adds a method to the results of a run, and writes its samples beside them; of images the first 64 a seed."""
    buffer = io.BytesIO()
    np.save(buffer, points if points.ndim == 3 else points[:, :_NUM_IMAGES_KEPT])
    write_atomically(points_file(run, name), buffer.getvalue())
    results = {**load_results(run), name: result}
    values = {name: dataclasses.asdict(result) for name, result in results.items()}
    write_atomically(results_file(run), json.dumps(values, indent=1) + "\n")


def points_file(run: RunDirectory, name: str) -> Any:
    """Where the last samples of a method lie, `[S, N, ...]`."""
    return run.path / "points" / f"{name}.npy"
