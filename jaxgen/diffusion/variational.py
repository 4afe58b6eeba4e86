"""The variational bound of the log-likelihood, term by term: discrete, and in continuous time.

``-ln p(x) <= prior + diffusion + reconstruction``, each `[B]` in nats. For all of them `denoise`
gives the estimate of the data; see `process.denoiser`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, example_keys, split_keys, sum_event
from jaxgen.diffusion.grids import Grid, static_steps
from jaxgen.diffusion.process import Denoiser, amplitudes, diffuse, draw_noise
from jaxgen.diffusion.trees import add_leaves, squared_distance
from jaxgen.distributions import Normal
from jaxgen.pixels import to_model_range
from jaxgen.types import Array, Key, PyTree, jit_loss


@jit_loss
def denoising_error(
    key: Key, denoise: Denoiser, x: PyTree, log_snr: Array, *, condition: Any = None
) -> Array:
    """Squared error of the estimate of the data at a noise level, ``||x - x0(x_t)||^2``.

    Times the SNR it is that of the noise.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        x: data, arrays `[B, ...]`.
        log_snr: `[B]`.
        condition: given to the denoiser as it is.

    Returns:
        `[B]`.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", equation 10.
    """
    x_t = diffuse(x, draw_noise(key, x), log_snr)
    return squared_distance(x, denoise(x_t, log_snr, condition))


@jit_loss
def prior_term(x: PyTree, log_snr: Array) -> Array:
    """How far the noisiest data are from noise, ``KL(q(x_1|x) || N(0, I))``.

    Args:
        x: data, arrays `[B, ...]`.
        log_snr: that of the noisy end, a number.

    Returns:
        `[B]` in nats.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", equation 5.
    """
    a, s = amplitudes(log_snr)

    def each(x: Array) -> Array:
        square = jnp.square(a * at_least_float32(x))
        return 0.5 * sum_event(square + jnp.square(s) - 1.0 - 2.0 * jnp.log(s))

    return add_leaves(jax.tree.map(each, x))


def discrete_terms(
    key: Key, denoise: Denoiser, x: PyTree, grid: Grid, *, condition: Any = None
) -> Array:
    """The divergence of every step of a discrete process, by one draw of the noise each.

    ``KL(q(x_s|x_t, x) || p(x_s|x_t)) = (SNR_s - SNR_t) / 2 ||x - x0(x_t)||^2``.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        x: data, arrays `[B, ...]`.
        grid: noise levels that end with some noise, as `bound_grid` makes them.
        condition: given to the denoiser as it is.

    Returns:
        `[B, M]` in nats, in the order of the grid; 0 beyond its number of steps. Their sum is the
        diffusion term.

    Source:
        Kingma et al. 2021, "Variational diffusion models", equation 14.
    """
    # An argument of a jitted function is an array, over which loops have no reverse mode.
    return _discrete_terms(key, denoise, x, grid, condition, num_steps=static_steps(grid))


@jit_loss(static_argnames=("num_steps",))
def _discrete_terms(
    key: Key, denoise: Denoiser, x: PyTree, grid: Grid, condition: Any, *, num_steps: int | None
) -> Array:
    keys = example_keys(key, len(jax.tree.leaves(x)[0]))
    log_snr = 2.0 * (jnp.asarray(grid.log_a) - jnp.asarray(grid.log_s))

    def body(i: Array, terms: Array) -> Array:
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        distance = denoising_error(
            own, denoise, x, jnp.full(len(keys), log_snr[i]), condition=condition
        )
        # SNR_s - SNR_t without the difference of two large numbers.
        growth = jnp.exp(log_snr[i + 1]) * -jnp.expm1(log_snr[i] - log_snr[i + 1])
        return terms.at[:, i].set(0.5 * growth * distance)

    zeros = jnp.zeros((len(keys), len(log_snr) - 1), log_snr.dtype)
    return jax.lax.fori_loop(0, grid.num_steps if num_steps is None else num_steps, body, zeros)


@jit_loss(static_argnames=("num_samples",))
def continuous_term(
    key: Key,
    denoise: Denoiser,
    x: PyTree,
    schedule: Callable[[Array], Array],
    *,
    condition: Any = None,
    num_samples: int,
) -> Array:
    """The diffusion term in the limit of many steps, by draws of times spread over [0, 1].

    ``E[-SNR'(t) / 2 ||x - x0(x_t)||^2]``, t uniform; draw k has ``t = (u + k) / K``, which spares
    most of the variance.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        x: data, arrays `[B, ...]`.
        schedule: log-SNR of times; the result depends on its ends alone.
        condition: given to the denoiser as it is.
        num_samples: K, at least 1; the draws are taken one by one.

    Returns:
        `[B]` in nats.

    Raises:
        ValueError: if `num_samples` is below 1.

    Source:
        Kingma et al. 2021, "Variational diffusion models", equation 17 and appendix on the
        low-discrepancy sampler.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: {num_samples}, expected at least 1")
    start_key, noise_key = split_keys(example_keys(key, len(jax.tree.leaves(x)[0])), 2)
    start = jax.vmap(jax.random.uniform)(start_key)

    def draw(k: Array) -> Array:
        own = jax.vmap(jax.random.fold_in, (0, None))(noise_key, k)
        t = (start + k) / num_samples
        log_snr, slope = jax.jvp(schedule, (t,), (jnp.ones_like(t),))
        distance = denoising_error(own, denoise, x, log_snr, condition=condition)
        return -0.5 * slope * jnp.exp(log_snr) * distance

    return jnp.mean(jax.lax.map(draw, jnp.arange(num_samples)), axis=0)


@jit_loss
def gaussian_reconstruction(
    key: Key, denoise: Denoiser, x: PyTree, log_snr: Array, *, condition: Any = None
) -> Array:
    """What is left of continuous data at the least noise, ``-ln N(x; x0(x_0), s^2 / a^2)``.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        x: data, arrays `[B, ...]`.
        log_snr: that of the end of the data, a number.
        condition: given to the denoiser as it is.

    Returns:
        `[B]` in nats; negative where the density is high.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", section 3.3.
    """
    x0, log_var = _least_noise(key, denoise, x, log_snr, condition)

    def each(x0: Array, x: Array) -> Array:
        return -Normal(x0, jnp.full_like(x0, log_var)).log_prob(x)

    return add_leaves(jax.tree.map(each, x0, x))


@jit_loss(static_argnames=("levels",))
def discretized_reconstruction(
    key: Key, denoise: Denoiser, x: Array, log_snr: Array, *, levels: int, condition: Any = None
) -> Array:
    """What is left of pixels at the least noise: minus the log-mass of each in its bin.

    The normal of mean ``x0(x_0)`` and deviation ``s / a`` is cut into bins round the pixel values,
    ``2 k / (levels - 1) - 1``, of which the first and the last are open.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x`` in [-1, 1].
        x: integer pixels 0 to levels - 1, `[B, ...]`.
        log_snr: that of the end of the data, a number.
        levels: number of pixel values.
        condition: given to the denoiser as it is.

    Returns:
        `[B]` in nats, at least 0.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", equation 13.
    """
    scaled = to_model_range(x, levels)
    x0, log_var = _least_noise(key, denoise, scaled, log_snr, condition)
    half, scale = 1.0 / (levels - 1), jnp.exp(-0.5 * log_var)
    low = jnp.where(scaled > -1.0 + half, (scaled - half - x0) * scale, -jnp.inf)
    high = jnp.where(scaled < 1.0 - half, (scaled + half - x0) * scale, jnp.inf)
    return -sum_event(_log_mass(low, high))


def _log_mass(low: Array, high: Array) -> Array:
    """The log-mass of a standard normal between two numbers, exact far out in either tail."""
    # Mirrored to the lower tail, where the logarithm of the distribution keeps its digits.
    is_upper = low > 0.0
    low, high = jnp.where(is_upper, -high, low), jnp.where(is_upper, -low, high)
    below = jax.scipy.special.log_ndtr(high)
    gap = jax.scipy.special.log_ndtr(low) - below
    return below + jnp.log(-jnp.expm1(jnp.minimum(gap, -1e-7)))  # -1e-7: bins without width.


def _least_noise(
    key: Key, denoise: Denoiser, x: PyTree, log_snr: Array, condition: Any
) -> tuple[PyTree, Array]:
    """The estimate from data with the least noise, and ln of the variance ``s^2 / a^2``."""
    log_snr = at_least_float32(jnp.asarray(log_snr))
    rows = jnp.full(len(jax.tree.leaves(x)[0]), log_snr)
    return denoise(diffuse(x, draw_noise(key, x), rows), rows, condition), -log_snr
