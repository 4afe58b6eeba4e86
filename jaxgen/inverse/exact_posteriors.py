"""Exact posteriors: of Gaussians, of their mixtures, and of models that complete images."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import example_keys
from jaxgen.classical.mixture.density import Mixture
from jaxgen.classical.oracles import linear_posterior
from jaxgen.inverse.image_priors import CompletionPrior, GaussianPrior
from jaxgen.inverse.linear_operator import Operator
from jaxgen.types import Array, Key

LEAST_STD = 1e-3
"""Of the noise of measurements where it is divided by."""


def draw_exactly(
    key: Key,
    prior: GaussianPrior,
    operator: Operator,
    y: Array,
    noise_std: float,
    num_draws: int,
) -> Array:
    """Draws from the posterior of a Gaussian or a mixture, whose covariance is made in full.

    Args:
        key: random key, or keys `[B]`.
        prior: over n numbers.
        operator: H.
        y: measurements `[B, *out_shape]`.
        noise_std: of them, in their units; below .001 it counts as .001.
        num_draws: D.

    Returns:
        `[D, B, *shape]`.

    Raises:
        ValueError: if the prior is of another number of numbers.
    """
    size, density = math.prod(operator.shape), prior.density
    given = (density.components if isinstance(density, Mixture) else density).mean.shape[-1]
    if given != size:
        raise ValueError(f"prior: a density of {given} numbers, expected {size}, as images have")
    columns = operator(jnp.eye(size).reshape(size, *operator.shape))
    matrix = columns.reshape(size, -1).T
    offset = operator(jnp.full((1, *operator.shape), prior.offset))
    rest = (y - offset).reshape(len(y), -1)
    variance = max(noise_std, LEAST_STD) ** 2

    def one(key: Key, rest: Array) -> Array:
        posterior = linear_posterior(prior.density, prior.scale * matrix, rest, variance)
        return posterior.sample(key, num_draws)

    vectors = jax.vmap(one, out_axes=1)(example_keys(key, len(y)), rest)
    return (prior.scale * vectors + prior.offset).reshape(num_draws, len(y), *operator.shape)


def complete_exactly(
    key: Key,
    prior: CompletionPrior,
    operator: Operator,
    y: Array,
    noise_std: float,
    num_draws: int,
) -> Array:
    """Draws what a mask hides by a model that completes images.

    Args:
        key: random key, or keys `[B]`.
        prior: that completes.
        operator: a mask of whole pixels, of concrete values.
        y: measurements `[B, m]`.
        noise_std: 0.
        num_draws: D.

    Returns:
        `[D, B, H, W, C]`.

    Raises:
        ValueError: if the operator is no mask of pixels, there is noise, or the model cannot serve
            the mask.
    """
    if noise_std != 0.0:
        raise ValueError(f"noise_std: {noise_std}, expected 0, as completions keep what is known")
    known = _mask_of(operator)
    prior.check(known)
    x = operator.adjoint(y)
    keys = draw_keys(key, len(y), num_draws)
    return jax.lax.map(lambda own: prior.complete(own, x, known), keys)


def draw_keys(key: Key, num: int, num_draws: int) -> Key:
    """Splits a key for the draws of each example.

    Args:
        key: random key, or keys `[B]`.
        num: B.
        num_draws: D.

    Returns:
        Keys `[D, B]`.
    """
    split = jax.vmap(lambda key: jax.random.split(key, num_draws), out_axes=1)
    return split(example_keys(key, num))


def _mask_of(operator: Operator) -> np.ndarray:
    """What an operator leaves as it is, booleans `[H, W]`; raises ValueError if it is no mask."""
    with jax.ensure_compile_time_eval():
        x = jnp.arange(1.0, math.prod(operator.shape) + 1).reshape(1, *operator.shape)
        seen = np.asarray(operator.adjoint(operator(x))[0])
    known = seen != 0.0
    is_mask = np.array_equal(seen, np.where(known, np.asarray(x)[0], 0.0))
    if not (is_mask and known.ndim == 3 and np.all(known == known[..., :1])):
        raise ValueError("operator: expected a mask of whole pixels for a model that completes")
    return known[..., 0]
