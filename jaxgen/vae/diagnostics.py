"""The health of a latent space: which latents are used, and has the posterior collapsed."""

import chex
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.types import Array

ACTIVITY_THRESHOLD = 0.01
"""Variance of a posterior mean over the data above which a latent is active (Burda et al. 2016)."""


def active_units(
    posterior_mean: Array, *, threshold: float = ACTIVITY_THRESHOLD
) -> tuple[Array, Array]:
    """Tells which latents respond to the data.

    Args:
        posterior_mean: of many examples, `[N, D]`, N at least 2.
        threshold: variance over the examples above which a latent is active.

    Returns:
        The variance of each latent's posterior mean, `[D]`, and whether it is active, bool `[D]`.

    Raises:
        ValueError: if there are fewer than 2 examples, over which nothing varies.

    Source:
        Burda et al. 2016, "Importance weighted autoencoders", section 5.2.
    """
    chex.assert_rank(posterior_mean, 2)
    num = len(posterior_mean)
    if num < 2:
        raise ValueError(f"posterior_mean: {num} example{'s' * (num != 1)}, expected at least 2")
    variance = jnp.var(at_least_float32(posterior_mean), axis=0)
    return variance, variance > threshold


def describe_collapse(num_active: int, latent_dim: int) -> str:
    """Names the state of the posterior in one sentence.

    Args:
        num_active: number of active units.
        latent_dim: number of latents.

    Returns:
        A sentence for a log or a figure.
    """
    count = f"{num_active} of {latent_dim} latents are active"
    if num_active == 0:
        return f"posterior collapse: {count}; the decoder ignores z (try a KL warm-up or free bits)"
    if num_active < 0.1 * latent_dim:
        return f"near posterior collapse: {count} (try a KL warm-up or free bits)"
    return f"no posterior collapse: {count}"
