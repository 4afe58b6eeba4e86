"""Trains an adversarial method with several seeds in one program, and counts modes."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.measurement import EVALUATION_SEED
from experiments.mode_collapse.results import Result, load_results, save_result
from experiments.mode_collapse.targets import Counts, Target
from jaxgen.training.checkpoint import Checkpoints
from jaxgen.training.progress import Progress
from jaxgen.training.run_directory import RunDirectory
from jaxgen.types import Algorithm, Array, Key, PyTree

_BLOCK_SIZE = 2500
_SECONDS_PER_CHECKPOINT = 60.0


def train(
    algorithm: Algorithm,
    target: Target,
    run: RunDirectory,
    *,
    name: str,
    seeds: Sequence[int],
    steps: int,
    steps_per_call: int,
    batch_size: int,
    num_samples: int,
    map_seeds: Callable[..., Callable[..., Any]] = jax.vmap,
) -> Result:
    """Trains all seeds in one program, counts modes after each dispatch, and goes on where an
    earlier start stopped.

    About every minute, and at the end, the state and the result are saved.

    Args:
        algorithm: adversarial method.
        target: to learn, sampled anew for each step.
        run: where results and checkpoints lie.
        name: of the method.
        seeds: of the runs.
        steps: generator steps of each run.
        steps_per_call: steps of a dispatch; the last takes what is left.
        batch_size: real examples of a step.
        num_samples: samples of each seed behind a count.
        map_seeds: `jax.vmap`, or `one_by_one` for networks that it would slow down.

    Returns:
        The result.
    """
    last = time.monotonic()
    init_one, sample_one, advance_one = _programs(algorithm, target, batch_size, num_samples)
    initialize, sample = (jax.jit(map_seeds(program)) for program in (init_one, sample_one))
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    advance = jax.jit(
        lambda data, states, steps: map_seeds(functools.partial(advance_one, data, steps))(
            states, keys
        ),
        donate_argnums=1,
    )
    checkpoints = Checkpoints(run.path / "checkpoints" / name, keep=1)
    restored = checkpoints.restore(jax.eval_shape(initialize, keys))
    first, states = restored or (0, initialize(keys))
    states = jax.tree.map(jnp.array, states)
    result = load_results(run).get(name, Result()).until(first)
    saved = last
    print(name)
    with Progress(steps, first) as progress:
        for start in range(first, steps, steps_per_call):
            end = min(start + steps_per_call, steps)
            states, norms = advance(target.data, states, jnp.arange(start, end))
            points = np.asarray(sample(states))
            counts = [target.score(each) for each in points]
            progress.update(end, _means(counts))
            before, last = last, time.monotonic()
            result = result.extended(end, counts, norms.tolist(), last - before)
            if end == steps or last - saved > _SECONDS_PER_CHECKPOINT:
                save_result(run, name, result, points)
                checkpoints.save(end, states)
                saved = last
    return result


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap` as a loop in one program: convolutions over several kernels at once are slow on a
    CPU.
    """
    return lambda *args: jax.lax.map(lambda each: function(*each), args)


def _programs(
    algorithm: Algorithm, target: Target, batch_size: int, num_samples: int
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Beginning, samples, a dispatch of one seed: step t has the key `fold_in(seed, t + 1)`."""

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
            batch = {"x": target.sample(data, data_key, batch_size)}
            state, metrics = algorithm.step(state, batch, step_key)
            return state, metrics["generator_gradient_norm"]

        state, norms = jax.lax.scan(step, state, steps)
        return state, jnp.mean(norms)

    return initialize, sample, advance


def _means(row: Sequence[Counts]) -> dict[str, float]:
    """What is shown while it trains."""
    means = {"modes": float(np.mean([count.num_found for count in row]))}
    shares = [count.good_share for count in row if count.good_share is not None]
    return means | ({"good share": float(np.mean(shares))} if shares else {})
