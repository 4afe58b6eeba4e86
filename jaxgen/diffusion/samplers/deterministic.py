"""Samplers of higher order along the probability flow: PLMS, DPM-Solver++ and Heun."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.process import Denoiser
from jaxgen.diffusion.samplers.steps import Level, for_each, towards, walk
from jaxgen.diffusion.trees import combine
from jaxgen.types import Array, Key, PyTree

_ADAMS_BASHFORTH = (
    (1.0, 0.0, 0.0, 0.0),
    (3 / 2, -1 / 2, 0.0, 0.0),
    (23 / 12, -16 / 12, 5 / 12, 0.0),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the newest and of older values, by the number of older ones there are."""


def plms(
    key: Key,
    denoise: Denoiser,
    x_T: PyTree,
    grid: Grid,
    *,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """Deterministic steps along the noise extrapolated from the last four estimates.

    The first steps use as many as there are, so the denoiser is called N times.

    Args:
        key: not used.
        denoise: as in `ddim`.
        x_T: as in `ddim`.
        grid: noise levels, the first with some signal.
        condition: given to the denoiser as it is.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data, of the shapes of `x_T`.

    Source:
        Liu et al. 2022, "Pseudo numerical methods for diffusion models on manifolds", equation 12;
        it begins with Runge-Kutta steps, which this does not.
    """

    def step(keys: Key, x: PyTree, memory: Any, i: Array, t: Level, s: Level) -> tuple[PyTree, Any]:
        x0 = denoise(x, for_each(t.log_snr, x), condition)
        noises = (combine((1.0 / t.s, x), (-t.a / t.s, x0)), *memory)
        weights = jnp.asarray(_ADAMS_BASHFORTH)[jnp.minimum(i, 3)]
        noise = combine(*zip(weights, noises, strict=True))
        x = combine((s.a / t.a, x), (s.s - s.a * t.s / t.a, noise))
        return x, noises[:-1]

    return walk(step, key, x_T, (_zeros(x_T),) * 3, grid, num_frames)


def dpm_solver(
    key: Key,
    denoise: Denoiser,
    x_T: PyTree,
    grid: Grid,
    *,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """DPM-Solver++(2M): exact in the linear part, extrapolated from the last two estimates.

    It is of second order, and calls the denoiser N times; its first and its last step are of first
    order.

    Args:
        key: not used.
        denoise: as in `ddim`.
        x_T: as in `ddim`.
        grid: noise levels.
        condition: given to the denoiser as it is.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data, of the shapes of `x_T`.

    Source:
        Lu et al. 2022, "DPM-Solver++: fast solver for guided sampling of diffusion probabilistic
        models", algorithm 2.
    """

    def step(keys: Key, x: PyTree, memory: Any, i: Array, t: Level, s: Level) -> tuple[PyTree, Any]:
        before, log_snr_before = memory
        x0 = denoise(x, for_each(t.log_snr, x), condition)
        ratio = (s.log_snr - t.log_snr) / (t.log_snr - log_snr_before)
        is_end = (i == 0) | (i == grid.num_steps - 1)
        weight = jnp.where(is_end, 0.0, 0.5 * jnp.where(is_end, 0.0, ratio))
        estimate = combine((1.0 + weight, x0), (-weight, before))
        return towards(estimate, x, t, s, s.s), (x0, t.log_snr)

    start = (_zeros(x_T), jnp.zeros_like(jnp.asarray(grid.log_a)[0]))
    return walk(step, key, x_T, start, grid, num_frames)


def heun(
    key: Key,
    denoise: Denoiser,
    x_T: PyTree,
    grid: Grid,
    *,
    condition: Any = None,
    num_frames: int = 0,
) -> Any:
    """Deterministic steps along the mean of the noise at their two ends.

    It is of second order, and calls the denoiser 2 N - 1 times: a step that ends without noise is
    of first order, since there is no noise to estimate at its end.

    Args:
        key: not used.
        denoise: as in `ddim`.
        x_T: as in `ddim`.
        grid: noise levels, the first with some signal.
        condition: given to the denoiser as it is.
        num_frames: of the trajectory; 0 for none.

    Returns:
        Data, of the shapes of `x_T`.

    Source:
        Karras et al. 2022, "Elucidating the design space of diffusion-based generative models",
        algorithm 1.
    """

    def step(keys: Key, x: PyTree, memory: Any, i: Array, t: Level, s: Level) -> tuple[PyTree, Any]:
        x0 = denoise(x, for_each(t.log_snr, x), condition)
        euler = towards(x0, x, t, s, s.s)

        def correct(euler: PyTree) -> PyTree:
            again = denoise(euler, for_each(s.log_snr, x), condition)
            noise_t = combine((1.0 / t.s, x), (-t.a / t.s, x0))
            noise_s = combine((1.0 / s.s, euler), (-s.a / s.s, again))
            half = 0.5 * (s.s - s.a * t.s / t.a)
            return combine((s.a / t.a, x), (half, noise_t), (half, noise_s))

        return jax.lax.cond(s.log_s > -jnp.inf, correct, lambda euler: euler, euler), memory

    return walk(step, key, x_T, None, grid, num_frames)


def _zeros(x: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, x)
