"""Samplers of images given a measurement, each with a step of its own.

``sampler(key, denoise, x_T, grid, operator, y, noise_std) -> x``, as pure functions of a denoiser,
one loop on the device; see `jaxgen.diffusion.samplers`. The noise of measurements is in the units
of data. The denoisers of `guided` go with the plain samplers instead.
"""

from typing import Any

import jax.numpy as jnp

from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.process import Denoiser, draw_noise
from jaxgen.diffusion.samplers.steps import Level, for_each, lost_signal, towards, walk
from jaxgen.inverse.guided import residual_gradient
from jaxgen.inverse.linear_operator import Operator, regularized
from jaxgen.types import Array, Key

_LEAST_STD = 1e-4  # Of measurements without noise, where a step divides by it.


def dps(
    key: Key,
    denoise: Denoiser,
    x_T: Array,
    grid: Grid,
    operator: Operator,
    y: Array,
    *,
    zeta: Array | float = 1.0,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """Ancestral steps, each followed by ``- zeta grad ||y - H x0||``: DPS as published.

    The norm is not squared and is that of each example. The step size has no unit, so that results
    depend on the number of steps and on the range of data: the paper's values, .3 to 1, belong to
    1,000 steps and data in [-1, 1]. The noise of measurements does not enter.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``, that treats its examples apart.
        x_T: noise `[B, *shape]`.
        grid: noise levels.
        operator: H.
        y: measurements `[B, *out_shape]`.
        zeta: step size.
        condition: arrays `[B, ...]`, or None.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data `[B, *shape]`; with frames ``(x, frames)``.

    Source:
        Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems",
        algorithm 1.
    """

    def step(keys: Key, x: Array, memory: Any, i: Array, t: Level, s: Level) -> tuple[Array, Any]:
        x0, gradient = residual_gradient(denoise, operator, x, for_each(t.log_snr, x), y, condition)
        fresh = s.s / t.s * jnp.sqrt(lost_signal(t, s))
        mean = towards(x0, x, t, s, jnp.sqrt(jnp.maximum((s.s - fresh) * (s.s + fresh), 0.0)))
        return mean + fresh * draw_noise(keys, x) - zeta * gradient, memory

    return walk(step, key, x_T, None, grid, num_frames)


def diffpir(
    key: Key,
    denoise: Denoiser,
    x_T: Array,
    grid: Grid,
    operator: Operator,
    y: Array,
    noise_std: Array | float,
    *,
    weight: Array | float = 1.0,
    zeta: Array | float = 1.0,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """Draws each estimate of the data towards the measurement, then adds the next level's noise.

    The estimate becomes the mean under ``N(x0, (s^2 / a^2) / weight I)`` as a prior; of the noise
    after the step a share of `zeta` is fresh. No gradient of the denoiser is needed.

    Args:
        key: as in `dps`.
        denoise: as in `dps`.
        x_T: as in `dps`.
        grid: noise levels.
        operator: H.
        y: measurements `[B, *out_shape]`.
        noise_std: of the measurements, in the units of data, at least 0.
        weight: of the estimate, above 0; the paper's lambda.
        zeta: in [0, 1].
        condition: arrays `[B, ...]`, or None.
        num_frames: of the trajectory; 0 for none.

    Returns:
        As `dps`.

    Source:
        Zhu et al. 2023, "Denoising diffusion models for plug-and-play image restoration", algorithm
        1.
    """
    variance = jnp.square(jnp.maximum(noise_std, _LEAST_STD))

    def step(keys: Key, x: Array, memory: Any, i: Array, t: Level, s: Level) -> tuple[Array, Any]:
        x0 = denoise(x, for_each(t.log_snr, x), condition)
        spread = jnp.square(t.s / t.a) / weight
        x0 = x0 + regularized(operator, y - operator(x0), spread, variance)
        mean = towards(x0, x, t, s, jnp.sqrt(1.0 - zeta) * s.s)
        return mean + jnp.sqrt(zeta) * s.s * draw_noise(keys, x), memory

    return walk(step, key, x_T, None, grid, num_frames)
