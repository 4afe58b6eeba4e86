"""Samplers: from noise to data through a grid of noise levels, as pure functions of a denoiser.

``sampler(key, denoise, x_T, grid) -> x`` alike for all, on arrays or pytrees of them; the
deterministic ones have no use for the key. The steps are one loop on the device. Where the number
of steps is a Python integer it can be differentiated in reverse mode too; where the grid is an
argument of a jitted function, every number of steps is served by one program. What a multistep
method remembers is carried by the loop, so no call knows of another.

With ``num_frames`` each returns ``(x, frames [F, B, ...])``, the states at steps that are spread
evenly from the first to the last.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.arrays import example_keys
from jaxgen.diffusion.grids import Grid
from jaxgen.diffusion.process import Denoiser, combine, draw_noise
from jaxgen.types import Array, Key, PyTree

_ADAMS_BASHFORTH = (
    (1.0, 0.0, 0.0, 0.0),
    (3 / 2, -1 / 2, 0.0, 0.0),
    (23 / 12, -16 / 12, 5 / 12, 0.0),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the newest and of older values, by the number of older ones there are."""


class _Level(NamedTuple):
    """A noise level: ln of the factors of signal and noise."""

    log_a: Array
    log_s: Array

    @property
    def log_snr(self) -> Array:
        return 2.0 * (self.log_a - self.log_s)

    @property
    def a(self) -> Array:
        return jnp.exp(self.log_a)

    @property
    def s(self) -> Array:
        return jnp.exp(self.log_s)


_Step = Callable[[Key, PyTree, Any, Array, _Level, _Level], tuple[PyTree, Any]]
"""``(keys [B], x, memory, i, level i, level i + 1) -> (x, memory)``."""


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

    def step(
        keys: Key, x: PyTree, memory: Any, i: Array, t: _Level, s: _Level
    ) -> tuple[PyTree, Any]:
        x0 = denoise(x, _for_each(t.log_snr, x), condition)
        variance = jnp.minimum(jnp.square(eta * s.s / t.s) * _lost(t, s), jnp.square(s.s))
        x = _towards(x0, x, t, s, jnp.sqrt(jnp.square(s.s) - variance))
        return combine((1.0, x), (jnp.sqrt(variance), draw_noise(keys, x))), memory

    return _run(step, key, x_T, None, grid, num_frames)


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

    def step(
        keys: Key, x: PyTree, memory: Any, i: Array, t: _Level, s: _Level
    ) -> tuple[PyTree, Any]:
        x0, fraction = denoise(x, _for_each(t.log_snr, x), condition)
        lost = _lost(t, s)
        # Rounding takes it beyond the whole where nearly all noise goes in one step.
        variance = jnp.minimum(jnp.square(s.s / t.s) * lost, jnp.square(s.s))
        mean = _towards(x0, x, t, s, jnp.sqrt(jnp.square(s.s) - variance))
        # ln v_posterior = ln of the whole + 2 ln(s_s / s_t), of which a clean end has none.
        is_clean = s.log_s == -jnp.inf
        log_ratio = jnp.where(is_clean, 0.0, 2.0 * (s.log_s - t.log_s))
        scale = jnp.where(is_clean, 0.0, jnp.sqrt(lost))

        def add(mean: Array, fraction: Array, noise: Array) -> Array:
            return mean + scale * jnp.exp(0.5 * (1.0 - fraction) * log_ratio) * noise

        return jax.tree.map(add, mean, fraction, draw_noise(keys, x)), memory

    return _run(step, key, x_T, None, grid, num_frames)


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

    def step(
        keys: Key, x: PyTree, memory: Any, i: Array, t: _Level, s: _Level
    ) -> tuple[PyTree, Any]:
        x0 = denoise(x, _for_each(t.log_snr, x), condition)
        noises = (combine((1.0 / t.s, x), (-t.a / t.s, x0)), *memory)
        weights = jnp.asarray(_ADAMS_BASHFORTH)[jnp.minimum(i, 3)]
        noise = combine(*zip(weights, noises, strict=True))
        x = combine((s.a / t.a, x), (s.s - s.a * t.s / t.a, noise))
        return x, noises[:-1]

    return _run(step, key, x_T, (_zeros(x_T),) * 3, grid, num_frames)


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

    def step(
        keys: Key, x: PyTree, memory: Any, i: Array, t: _Level, s: _Level
    ) -> tuple[PyTree, Any]:
        before, log_snr_before = memory
        x0 = denoise(x, _for_each(t.log_snr, x), condition)
        ratio = (s.log_snr - t.log_snr) / (t.log_snr - log_snr_before)
        is_end = (i == 0) | (i == grid.num_steps - 1)
        weight = jnp.where(is_end, 0.0, 0.5 * jnp.where(is_end, 0.0, ratio))
        estimate = combine((1.0 + weight, x0), (-weight, before))
        return _towards(estimate, x, t, s, s.s), (x0, t.log_snr)

    start = (_zeros(x_T), jnp.zeros_like(jnp.asarray(grid.log_a)[0]))
    return _run(step, key, x_T, start, grid, num_frames)


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

    def step(
        keys: Key, x: PyTree, memory: Any, i: Array, t: _Level, s: _Level
    ) -> tuple[PyTree, Any]:
        x0 = denoise(x, _for_each(t.log_snr, x), condition)
        euler = _towards(x0, x, t, s, s.s)

        def correct(euler: PyTree) -> PyTree:
            again = denoise(euler, _for_each(s.log_snr, x), condition)
            noise_t = combine((1.0 / t.s, x), (-t.a / t.s, x0))
            noise_s = combine((1.0 / s.s, euler), (-s.a / s.s, again))
            half = 0.5 * (s.s - s.a * t.s / t.a)
            return combine((s.a / t.a, x), (half, noise_t), (half, noise_s))

        return jax.lax.cond(s.log_s > -jnp.inf, correct, lambda euler: euler, euler), memory

    return _run(step, key, x_T, None, grid, num_frames)


def _run(
    step: _Step, key: Key, x_T: PyTree, memory: Any, grid: Grid, num_frames: int
) -> PyTree | tuple[PyTree, PyTree]:
    """Goes through the grid; with frames, keeps the states at places spread over the steps."""
    log_a, log_s = jnp.asarray(grid.log_a), jnp.asarray(grid.log_s)
    keys = example_keys(key, len(jax.tree.leaves(x_T)[0]))
    spaces = max(num_frames - 1, 1)
    due = (jnp.arange(num_frames) * grid.num_steps + spaces // 2) // spaces

    def keep(frames: Array, x: Array, i: Array) -> Array:
        return jnp.where((due == i).reshape(-1, *(1,) * x.ndim), x, frames)

    def body(i: Array, carry: tuple[PyTree, Any, PyTree]) -> tuple[PyTree, Any, PyTree]:
        x, memory, frames = carry
        t, s = _Level(log_a[i], log_s[i]), _Level(log_a[i + 1], log_s[i + 1])
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        x, memory = step(own, x, memory, i, t, s)
        return x, memory, jax.tree.map(lambda kept, new: keep(kept, new, i + 1), frames, x)

    frames = jax.tree.map(lambda x: jnp.repeat(x[None], num_frames, axis=0), x_T)
    x, _, frames = jax.lax.fori_loop(0, grid.num_steps, body, (x_T, memory, frames))
    return (x, frames) if num_frames else x


def _towards(x0: PyTree, x: PyTree, t: _Level, s: _Level, deviation: Array) -> PyTree:
    """``a_s x0 + deviation noise`` with the noise that `x0` leaves of `x` at level t."""
    share = deviation / t.s
    return combine((share, x), (s.a - share * t.a, x0))


def _lost(t: _Level, s: _Level) -> Array:
    """The variance that the step from s to t adds, ``1 - a_t^2 / a_s^2``."""
    return -jnp.expm1(2.0 * (t.log_a - s.log_a))


def _for_each(log_snr: Array, x: PyTree) -> Array:
    """One log-SNR for each example, `[B]`."""
    return jnp.full(len(jax.tree.leaves(x)[0]), log_snr)


def _zeros(x: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, x)
