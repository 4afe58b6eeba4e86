"""Losses of diffusion models: pure functions of arrays and callables, `[B]`, summed over the event.

A key is one key, or a key for each example `[B]`. Data are arrays `[B, ...]` or pytrees of them, at
the scale on which the noise is added, such as [-1, 1] for pixels; a schedule is ``t -> log SNR``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, example_keys, split_keys, sum_event
from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.process import Kind, Predictor, diffuse, draw_noise, target
from jaxgen.diffusion.trees import add_leaves, squared_distance
from jaxgen.diffusion.weighting import Weighting, weight
from jaxgen.types import Array, Key, PyTree, jit_loss

Schedule = Callable[[Array], Array]


@jit_loss(static_argnames=("weighting",))
def noise_prediction(
    key: Key,
    denoise: Predictor,
    x: PyTree,
    schedule: Schedule,
    *,
    condition: Any = None,
    weighting: Weighting = "simple",
) -> Array:
    """Squared error of the predicted noise at a random time, ``w ||noise - f(x_t)||^2``.

    Args:
        key: random key of time and noise, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> noise``.
        x: data, arrays `[B, ...]`.
        schedule: log-SNR of times.
        condition: given to the network as it is.
        weighting: see `weighting`.

    Returns:
        `[B]`; under "bound" in nats, else in units of the noise.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", equation 14; Hang et al. 2023,
        "Efficient diffusion training via min-SNR weighting strategy", section 3.4.
    """
    return _prediction_error(key, denoise, x, schedule, condition, "noise", weighting)


@jit_loss(static_argnames=("weighting",))
def x0_prediction(
    key: Key,
    denoise: Predictor,
    x: PyTree,
    schedule: Schedule,
    *,
    condition: Any = None,
    weighting: Weighting = "simple",
) -> Array:
    """Squared error of the predicted data at a random time, ``w ||x - f(x_t)||^2``.

    Args:
        key: random key of time and noise, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> data``.
        x: data, arrays `[B, ...]`.
        schedule: log-SNR of times.
        condition: given to the network as it is.
        weighting: see `weighting`.

    Returns:
        `[B]`; under "bound" in nats.

    Source:
        Salimans & Ho 2022, "Progressive distillation for fast sampling of diffusion models",
        section 4.
    """
    return _prediction_error(key, denoise, x, schedule, condition, "x0", weighting)


@jit_loss(static_argnames=("weighting",))
def v_prediction(
    key: Key,
    denoise: Predictor,
    x: PyTree,
    schedule: Schedule,
    *,
    condition: Any = None,
    weighting: Weighting = "simple",
) -> Array:
    """Squared error of ``v = a noise - s x`` at a random time, ``w ||v - f(x_t)||^2``.

    Args:
        key: random key of time and noise, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> v``.
        x: data, arrays `[B, ...]`.
        schedule: log-SNR of times.
        condition: given to the network as it is.
        weighting: see `weighting`.

    Returns:
        `[B]`; under "bound" in nats.

    Source:
        Salimans & Ho 2022, "Progressive distillation for fast sampling of diffusion models",
        section 4 and appendix D.
    """
    return _prediction_error(key, denoise, x, schedule, condition, "v", weighting)


@jit_loss(static_argnames=("weighting",))
def velocity_prediction(
    key: Key,
    denoise: Predictor,
    x: PyTree,
    schedule: Schedule,
    *,
    condition: Any = None,
    weighting: Weighting = "simple",
) -> Array:
    """Squared error of ``noise - x``, the velocity from data to noise along a straight line.

    Args:
        key: random key of time and noise, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> velocity``.
        x: data, arrays `[B, ...]`.
        schedule: log-SNR of times.
        condition: given to the network as it is.
        weighting: see `weighting`.

    Returns:
        `[B]`; under "bound" in nats.

    Source:
        Lipman et al. 2023, "Flow matching for generative modeling", section 4.1; Liu et al. 2023,
        "Flow straight and fast: learning to generate and transfer data with rectified flow",
        equation 1. Time runs from data to noise here.
    """
    return _prediction_error(key, denoise, x, schedule, condition, "velocity", weighting)


@jit_loss
def hybrid(
    key: Key,
    denoise: Callable[[PyTree, Array, Any], tuple[PyTree, PyTree]],
    x: PyTree,
    grid: Grid,
    *,
    condition: Any = None,
    bound_weight: Array | float = 1e-3,
) -> Array:
    """Noise prediction, and a term of the discrete bound that teaches the variance alone.

    ``||noise - f||^2 + w N KL(q(x_s | x_t, x) || N(mean, v))`` at a random step of the grid, with
    ``ln v`` between that of the posterior and that of the step as `ancestral_learned` has it. The
    mean has no gradient from the second term.

    Args:
        key: random key of step and noise, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> (noise, fraction)``.
        x: data, arrays `[B, ...]`.
        grid: noise levels that end with some noise, as `bound_grid` makes them.
        condition: given to the network as it is.
        bound_weight: w, at least 0; the paper has .001.

    Returns:
        `[B]`.

    Source:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", equations 15
        and 16.
    """
    step_key, noise_key = split_keys(example_keys(key, _num(x)), 2)
    i = jax.vmap(lambda k: jax.random.randint(k, (), 0, grid.num_steps))(step_key)
    log_a, log_s = jnp.asarray(grid.log_a), jnp.asarray(grid.log_s)
    log_snr, noise = 2.0 * (log_a[i] - log_s[i]), draw_noise(noise_key, x)
    predicted, fraction = denoise(diffuse(x, noise, log_snr), log_snr, condition)
    # Of the posterior: ln v = ln(1 - a_t^2 / a_s^2) + 2 ln(s_s / s_t); KL of two normals whose
    # means differ by a_s (s_t^2 - s_s^2 a_t^2 / a_s^2) / (a_t s_t) of the error of the noise.
    lost = -jnp.expm1(2.0 * (log_a[i] - log_a[i + 1]))
    log_ratio = 2.0 * (log_s[i + 1] - log_s[i])
    per_error = jnp.exp(log_a[i + 1] - log_a[i] - log_s[i]) * lost
    scaled = jnp.square(per_error) / (lost * jnp.exp(log_ratio))

    def terms(noise: Array, predicted: Array, fraction: Array) -> Array:
        error = jnp.square(at_least_float32(noise - predicted))
        excess = at_least_float32(fraction) * -_like(log_ratio, error)  # ln v - ln v_posterior
        fixed = jax.lax.stop_gradient(error) * _like(scaled, error)
        kl = 0.5 * (excess + jnp.exp(-excess) * (1.0 + fixed) - 1.0)
        return sum_event(error + bound_weight * grid.num_steps * kl)

    return add_leaves(jax.tree.map(terms, noise, predicted, fraction))


def _prediction_error(
    key: Key,
    denoise: Predictor,
    x: PyTree,
    schedule: Schedule,
    condition: Any,
    kind: Kind,
    weighting: Weighting,
) -> Array:
    time_key, noise_key = split_keys(example_keys(key, _num(x)), 2)
    t = jax.vmap(jax.random.uniform)(time_key)
    log_snr, slope = jax.jvp(schedule, (t,), (jnp.ones_like(t),))
    noise = draw_noise(noise_key, x)
    prediction = denoise(diffuse(x, noise, log_snr), log_snr, condition)
    error = squared_distance(target(x, noise, log_snr, kind), prediction)
    return weight(log_snr, slope, kind, weighting) * error


def _like(row: Array, x: Array) -> Array:
    return row.reshape(-1, *(1,) * (x.ndim - 1))


def _num(x: PyTree) -> int:
    return len(jax.tree.leaves(x)[0])
