"""The exact log-density of a diffusion model as a flow: the ordinary differential equation.

``dx / d log SNR = a (x0(x) - a x) / 2`` moves noisy data at one level to noisy data at another, so
that their densities differ by the integral of its divergence.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from jaxgen.arrays import sum_event
from jaxgen.diffusion.grids import Grid, static_steps
from jaxgen.diffusion.process import Denoiser, amplitudes, draw_noise
from jaxgen.types import Array, Key, jit_loss

Trace = Callable[[Callable[[Array], Array], Array], tuple[Array, Array]]
"""``(function, x) -> (function(x), trace of its Jacobian [B])``."""


def exact_trace(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """The trace of the Jacobian of every example, by a derivative for each number.

    Args:
        function: ``x -> y`` of equal shapes, each example by itself.
        x: `[B, ...]`.

    Returns:
        ``(function(x), trace [B])``.
    """
    num = x[0].size

    def diagonal(i: Array) -> Array:
        basis = jnp.broadcast_to(jax.nn.one_hot(i, num, dtype=x.dtype), (len(x), num))
        tangent = jax.jvp(function, (x,), (basis.reshape(x.shape),))[1]
        return tangent.reshape(len(x), num)[:, i]

    return function(x), jnp.sum(jax.lax.map(diagonal, jnp.arange(num)), axis=0)


def hutchinson_trace(key: Key, like: Array) -> Trace:
    """Makes an unbiased estimate of the trace by one derivative along signs drawn once.

    The same signs serve a whole integration, so that it remains that of a smooth function.

    Args:
        key: random key, or keys `[B]`.
        like: `[B, ...]`, whose shape the signs have.

    Returns:
        A function like `exact_trace`.

    Source:
        Grathwohl et al. 2019, "FFJORD: free-form continuous dynamics for scalable reversible
        generative models", section 3.1.
    """
    # With the signs as leaves, new ones do not trace a loss anew.
    return Partial(_along, jnp.where(draw_noise(key, like) < 0.0, -1.0, 1.0))


def _along(signs: Array, function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    y, tangent = jax.jvp(function, (x,), (signs.astype(x.dtype),))
    return y, sum_event(signs * tangent)


def ode_log_prob(
    denoise: Denoiser,
    z: Array,
    grid: Grid,
    *,
    condition: Any = None,
    trace: Trace = exact_trace,
) -> Array:
    """Log-density of data with the noise of the grid's last level, by fourth-order steps.

    From the last level to the first, where the density is standard normal. Of data x with little
    noise, ``z = a x + s noise``, it gives the bound ``ln p(z) - ln q(z|x) + ln P(x|z)``.

    Args:
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``.
        z: noisy data `[B, ...]`.
        grid: noise levels that end with some noise, best even in log-SNR, such as `bound_grid` of
            `schedules.LogSnrLinear`.
        condition: given to the denoiser as it is.
        trace: `exact_trace`, or what `hutchinson_trace` makes.

    Returns:
        `[B]` in nats, of z itself.

    Source:
        Song et al. 2021, "Score-based generative modeling through stochastic differential
        equations", equations 39 and 40, in log-SNR.
    """
    return _ode_log_prob(denoise, z, grid, condition, trace, num_steps=static_steps(grid))


@jit_loss(static_argnames=("num_steps",))
def _ode_log_prob(
    denoise: Denoiser, z: Array, grid: Grid, condition: Any, trace: Trace, *, num_steps: int | None
) -> Array:
    log_snr = 2.0 * (jnp.asarray(grid.log_a) - jnp.asarray(grid.log_s))
    last = grid.num_steps if num_steps is None else num_steps
    num = z[0].size

    def velocity(x: Array, level: Array) -> tuple[Array, Array]:
        a, _ = amplitudes(level)
        rows = jnp.full(len(x), level)
        x0, divergence = trace(lambda x: denoise(x, rows, condition), x)
        return 0.5 * a * (x0 - a * x), 0.5 * a * (divergence - a * num)

    def body(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        x, log_ratio = carry
        start, end = log_snr[last - i], log_snr[last - i - 1]
        step, middle = end - start, 0.5 * (start + end)
        v1, d1 = velocity(x, start)
        v2, d2 = velocity(x + 0.5 * step * v1, middle)
        v3, d3 = velocity(x + 0.5 * step * v2, middle)
        v4, d4 = velocity(x + step * v3, end)
        x += step / 6.0 * (v1 + 2.0 * (v2 + v3) + v4)
        return x, log_ratio + step / 6.0 * (d1 + 2.0 * (d2 + d3) + d4)

    start = (z, jnp.zeros(len(z), z.dtype))
    x, log_ratio = jax.lax.fori_loop(0, last, body, start)
    return log_ratio - 0.5 * sum_event(jnp.square(x) + jnp.log(2.0 * jnp.pi))
