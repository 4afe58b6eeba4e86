"""Samplers that may add fresh noise: DDIM and ancestral steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.process import Denoiser, draw_noise
from jaxgen.diffusion.samplers.steps import Level, for_each, lost_signal, towards, walk
from jaxgen.diffusion.trees import combine
from jaxgen.types import Array, Key, PyTree


def ddim(
    key: Key,
    denoise: Denoiser,
    x_T: PyTree,
    grid: Grid,
    *,
    condition: Any = None,
    eta: Array | float = 0.0,
    num_frames: int = 0,
) -> Any:
    """Steps along the estimated noise, with fresh noise between none and that of the ancestors.

    ``x_s = a_s x0 + sqrt(s_s^2 - v) noise + sqrt(v) z`` with ``v = eta^2 (s_s^2 / s_t^2)
    (1 - a_t^2 / a_s^2)``. It calls the denoiser N times.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        x_T: noise of the grid's first level, arrays `[B, ...]`; of deviation ``sqrt(a^2 c^2 +
            s^2)`` for data of deviation c, which is 1 where no signal is left.
        grid: noise levels.
        condition: given to the denoiser as it is.
        eta: 0 is deterministic, 1 ancestral; in between, and a little beyond as far as the variance
            goes.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data, of the shapes of `x_T`.

    Source:
        Song et al. 2021, "Denoising diffusion implicit models", equations 12 and 16.
    """

    def step(keys: Key, x: PyTree, memory: Any, i: Array, t: Level, s: Level) -> tuple[PyTree, Any]:
        x0 = denoise(x, for_each(t.log_snr, x), condition)
        fresh = jnp.minimum(eta * s.s / t.s * jnp.sqrt(lost_signal(t, s)), s.s)
        rest = (s.s - fresh) * (s.s + fresh)
        # Not the root of 0, whose gradient is infinite, where all noise is fresh or none is left.
        along = jnp.where(rest > 0.0, jnp.sqrt(jnp.where(rest > 0.0, rest, 1.0)), 0.0)
        return combine((1.0, towards(x0, x, t, s, along)), (fresh, draw_noise(keys, x))), memory

    return walk(step, key, x_T, None, grid, num_frames)


def ancestral(
    key: Key,
    denoise: Denoiser,
    x_T: PyTree,
    grid: Grid,
    *,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """Draws from the posterior ``q(x_s | x_t, x0)`` at each estimate of the data: `ddim` of eta 1.

    Its variance is the smaller of the two that the paper names. It calls the denoiser N times.

    Args:
        key: random key, or keys `[B]`.
        denoise: as in `ddim`.
        x_T: as in `ddim`.
        grid: noise levels.
        condition: given to the denoiser as it is.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data, of the shapes of `x_T`.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", equations 6 and 7.
    """
    return ddim(key, denoise, x_T, grid, condition=condition, eta=1.0, num_frames=num_frames)


def ancestral_learned(
    key: Key,
    denoise: Callable[[PyTree, Array, Any], tuple[PyTree, PyTree]],
    x_T: PyTree,
    grid: Grid,
    *,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """`ancestral` with a learned variance between that of the posterior and that of the step.

    ``ln v = f ln(1 - a_t^2 / a_s^2) + (1 - f) ln v_posterior`` of these very steps, f as the
    network says, which is not clipped.

    Args:
        key: random key, or keys `[B]`.
        denoise: ``(x_t, log_snr [B], condition) -> (estimate of x, f)``.
        x_T: as in `ddim`.
        grid: noise levels.
        condition: given to the denoiser as it is.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data, of the shapes of `x_T`.

    Source:
        Nichol & Dhariwal 2021, "Improved denoising diffusion probabilistic models", equation 15.
    """

    def step(keys: Key, x: PyTree, memory: Any, i: Array, t: Level, s: Level) -> tuple[PyTree, Any]:
        x0, fraction = denoise(x, for_each(t.log_snr, x), condition)
        lost = lost_signal(t, s)
        # Rounding takes it beyond the whole where nearly all noise goes in one step.
        variance = jnp.minimum(jnp.square(s.s / t.s) * lost, jnp.square(s.s))
        mean = towards(x0, x, t, s, jnp.sqrt(jnp.square(s.s) - variance))
        # ln v_posterior = ln of the whole + 2 ln(s_s / s_t), of which a clean end has none.
        is_clean = s.log_s == -jnp.inf
        log_ratio = jnp.where(is_clean, 0.0, 2.0 * (s.log_s - t.log_s))
        scale = jnp.where(is_clean, 0.0, jnp.sqrt(lost))

        def add(mean: Array, fraction: Array, noise: Array) -> Array:
            return mean + scale * jnp.exp(0.5 * (1.0 - fraction) * log_ratio) * noise

        return jax.tree.map(add, mean, fraction, draw_noise(keys, x)), memory

    return walk(step, key, x_T, None, grid, num_frames)
