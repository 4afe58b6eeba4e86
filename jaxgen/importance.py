"""Likelihoods by importance sampling: the mean of weights that are known by their logarithms."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import example_keys, split_keys
from jaxgen.types import Array, Key


class LikelihoodEstimate(NamedTuple):
    """An importance-sampling estimate of the log-likelihood.

    Attributes:
        log_likelihood: estimate of ``ln p(x)``, `[B]` in nats, a lower bound in expectation.
        standard_error: of that estimate, `[B]` in nats, by the delta method.
    """

    log_likelihood: Array
    standard_error: Array


def log_mean_weight(log_weights: Array) -> LikelihoodEstimate:
    """The logarithm of the mean of K weights of each example, ``logsumexp_k ln w_k - ln K``.

    Args:
        log_weights: `[K, B]` in nats, K at least 1.

    Returns:
        `LikelihoodEstimate` of `[B]` in nats; the standard error is 0 at ``K = 1``, where none can
        be told, and has no gradient.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", equation 8.
    """
    chex.assert_rank(log_weights, 2)
    num_samples = len(log_weights)
    log_mean = jax.nn.logsumexp(log_weights, axis=0) - jnp.log(float(num_samples))
    # The error is a report, not an objective, and its square root has no gradient at equal weights.
    relative_weights = jax.lax.stop_gradient(jnp.exp(log_weights - log_mean[None]))
    standard_error = jnp.std(relative_weights, axis=0) / jnp.sqrt(float(max(num_samples - 1, 1)))
    return LikelihoodEstimate(log_mean, standard_error)


def draw_keys(key: Key, num_examples: int, num_samples: int) -> Array:
    """Keys of every draw of every example.

    Args:
        key: random key, or keys `[num_examples]`.
        num_examples: B.
        num_samples: K, at least 1.

    Returns:
        Typed keys `[K, B]`.

    Raises:
        ValueError: if `num_samples` is below 1.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: {num_samples}, expected at least 1")
    return split_keys(example_keys(key, num_examples), num_samples)
