"""Runs a solver on many images: in blocks over all devices, with progress."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen import inverse
from jaxgen.inverse import LatentPrior, Operator, Prior, total_variation
from jaxgen.training.parallel import map_examples
from jaxgen.training.progress import Progress
from jaxgen.types import Array, Key, PyTree

_BLOCK_NUMBERS = 2**18  # Of all draws of a block, on each device.
_TV_WEIGHTS = tuple(np.logspace(-3.5, 0.0, 8))


class Problem(NamedTuple):
    """Images to restore and what is known of them.

    Attributes:
        x: the truth, float32 `[N, H, W, C]` in [-1, 1].
        operator: that measures.
        noise_std: of the measurements.
        y: the measurements `[N, ...]`.
        keys: of the draws of each image, `[N]`.
    """

    x: np.ndarray
    operator: Operator
    noise_std: float
    y: np.ndarray
    keys: Key


def measure(key: Key, x: np.ndarray, operator: Operator, noise_std: float) -> Problem:
    """Measures images; each has noise and draws of its own key, whatever else is restored."""
    of_noise, of_draws = (
        jax.vmap(functools.partial(jax.random.fold_in, own))(np.arange(len(x)))
        for own in jax.random.split(key)
    )
    noise = jax.vmap(lambda key: jax.random.normal(key, operator.out_shape))(of_noise)
    y = operator(jnp.asarray(x)) + noise_std * noise
    return Problem(x, operator, noise_std, np.asarray(y), of_draws)


def draw(
    prior_of: Callable[[PyTree], Prior],
    state: PyTree,
    problem: Problem,
    method: str,
    num_draws: int,
    **numbers: Any,
) -> np.ndarray:
    """Draws from the posterior of every image, `[D, N, H, W, C]`."""
    block = _solver(prior_of, problem, method, num_draws, **numbers)
    return _in_blocks(block, state, problem, num_draws, is_shown=True)


def check(
    prior_of: Callable[[PyTree], Prior],
    state: PyTree,
    problem: Problem,
    method: str,
    num_draws: int,
) -> None:
    """Raises ValueError if a method cannot serve a problem; nothing is compiled for it."""
    block = _solver(prior_of, problem, method, num_draws)
    jax.eval_shape(block, state, (problem.keys[:1], problem.y[:1]))


def _solver(
    prior_of: Callable[[PyTree], Prior],
    problem: Problem,
    method: str,
    num_draws: int,
    **numbers: Any,
) -> Callable[[PyTree, tuple[Key, Array]], Array]:
    """``(state, (keys, y)) -> x``, the draws for a part of the images."""

    def block(state: PyTree, examples: tuple[Key, Array]) -> Array:
        keys, y = examples
        return inverse.solve(
            keys,
            prior_of(state),
            problem.operator,
            y,
            problem.noise_std,
            method,
            num_draws=num_draws,
            **numbers,
        )

    return block


def restore_by_total_variation(problem: Problem, weight: float) -> np.ndarray:
    """The classical baseline, `[1, N, H, W, C]`."""

    def block(weight: Array, examples: tuple[Key, Array]) -> Array:
        return total_variation.restore(problem.operator, examples[1], weight)[None]

    return _in_blocks(block, jnp.asarray(weight, jnp.float32), problem, 1)


def best_weight(key: Key, x: np.ndarray, operator: Operator, noise_std: float) -> float:
    """The weight of total variation that restores train images best."""
    problem = measure(key, x, operator, noise_std)
    errors = [
        np.mean(np.square(restore_by_total_variation(problem, weight)[0] - x))
        for weight in _TV_WEIGHTS
    ]
    return float(_TV_WEIGHTS[int(np.argmin(errors))])


def decoder_error(
    prior_of: Callable[[PyTree], Prior], state: PyTree, key: Key, x: np.ndarray
) -> float:
    """How far the images of a decoder stay from train images at best: a root mean square."""
    operator = inverse.operators.identity(x.shape[1:])
    problem = measure(key, x, operator, 0.0)

    def block(state: PyTree, examples: tuple[Key, Array]) -> Array:
        prior = prior_of(state)
        assert isinstance(prior, LatentPrior)
        # An image is worth as many numbers as it has: at less noise the latents would leave the
        # prior for the last details.
        return inverse.solve(examples[0], prior, operator, examples[1], 0.1, "map")

    found = _in_blocks(block, state, problem, 1)[0]
    return float(np.sqrt(np.mean(np.square(found - x))))


def _in_blocks(
    block: Callable[[PyTree, tuple[Key, Array]], Array],
    shared: PyTree,
    problem: Problem,
    num_draws: int,
    *,
    is_shown: bool = False,
) -> np.ndarray:
    num, devices = len(problem.x), jax.local_device_count()
    size = num_draws * math.prod(problem.x.shape[1:])
    each = int(np.clip(_BLOCK_NUMBERS // size, 1, math.ceil(num / devices)))
    run, found = map_examples(block), []
    with Progress(num, unit="image", is_writer=is_shown) as progress:
        progress.waiting("compiling")
        for first in range(0, num, devices * each):
            # The last block is whole, too: one program makes them all.
            rows = np.minimum(first + np.arange(devices * each), num - 1).reshape(devices, each)
            x = np.asarray(run(shared, (problem.keys[rows], problem.y[rows])))
            found.append(np.moveaxis(x, 1, 0).reshape(x.shape[1], devices * each, *x.shape[3:]))
            progress.update(min(first + devices * each, num))
    return np.concatenate(found, axis=1)[:, :num]
