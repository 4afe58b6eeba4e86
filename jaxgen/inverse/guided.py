"""Denoisers that know a measurement: functions from denoiser to denoiser, for any sampler.

Each adds ``s^2 / a`` times an estimate of ``grad ln p(y | x_t)`` to the estimate of the data, which
is to add it to the score. They differ in how far data may be from the estimate: ``V_t``, the
covariance of the data given x_t. Data are one array `[B, ...]`; the noise of measurements is in the
units of data. Every example is guided by itself: none depends on its batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgen.diffusion.process import Denoiser, amplitudes
from jaxgen.inverse.linear_operator import Operator, regularized
from jaxgen.types import Array

_TOLERANCE = 1e-5  # Of conjugate gradients, relative.
_LEAST_SHARE = 1e-6  # Of the noise of a level that is added to that of measurements without any.


def moment_matching(
    denoise: Denoiser,
    operator: Operator,
    y: Array,
    noise_std: Array | float,
    *,
    num_iterations: int = 8,
) -> Denoiser:
    """Guides by the covariance that the denoiser itself has, ``V_t = (s^2 / a) dx0 / dx_t``.

    ``x0 + V_t H' (H V_t H' + v I)^-1 (y - H x0)``, v the variance of the measurements' noise: the
    posterior mean where data are Gaussian. V_t is never made; conjugate gradients ask for its
    products, one backward pass of the denoiser each. The denoiser itself is called once. What a
    network gives for V_t need not be a covariance: the iteration ends where it sees a variance that
    is not above 0.

    Args:
        denoise: ``(x_t, log_snr [B], condition) -> estimate of x``, that treats its examples apart.
        operator: H.
        y: measurements `[B, *out_shape]`.
        noise_std: of the measurements, in the units of data, at least 0.
        num_iterations: most iterations; as many as measurements are exact.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x given x_t and y``.

    Source:
        Rozet et al. 2024, "Learning diffusion priors from observations by expectation
        maximization", section 4.2; Boys et al. 2024, "Tweedie moment projected diffusions for
        inverse problems".
    """

    def one(x_t: Array, log_snr: Array, y: Array, condition: Any) -> Array:
        x0, pull = jax.vjp(lambda x: _denoise_one(denoise, x, log_snr, condition), x_t)
        a, s = amplitudes(log_snr)
        variance = jnp.square(noise_std) + _LEAST_SHARE * jnp.square(s)

        def gain(u: Array) -> Array:
            return jnp.square(s) / a * pull(operator.adjoint(u[None])[0])[0]

        def covariance(u: Array) -> Array:
            return operator(gain(u)[None])[0] + variance * u

        rest = y - operator(x0[None])[0]
        return x0 + gain(_solve_while_positive(covariance, rest, num_iterations))

    return _for_each(one, y)


def pigdm(
    denoise: Denoiser,
    operator: Operator,
    y: Array,
    noise_std: Array | float,
    *,
    data_var: Array | float = 1.0,
) -> Denoiser:
    """PiGDM: guides as if the data were ``N(0, c^2 I)``, ``V_t = c^2 s^2 / (a^2 c^2 + s^2) I``.

    ``x0 + (s^2 / a) (dx0 / dx_t)' H' (r H H' + v I)^-1 (y - H x0)`` with that number r. Exact if
    the data are such; over-confident or too timid elsewhere. One backward pass a step.

    Args:
        denoise: as in `moment_matching`.
        operator: H; its spectrum is used where it is known.
        y: measurements `[B, *out_shape]`.
        noise_std: of the measurements, in the units of data, at least 0.
        data_var: c^2.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x given x_t and y``.

    Source:
        Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems", equations 7
        and 8.
    """

    def one(x_t: Array, log_snr: Array, y: Array, condition: Any) -> Array:
        x0, pull = jax.vjp(lambda x: _denoise_one(denoise, x, log_snr, condition), x_t)
        a, s = amplitudes(log_snr)
        r = data_var * jnp.square(s) / (jnp.square(a) * data_var + jnp.square(s))
        variance = jnp.square(noise_std) + _LEAST_SHARE * jnp.square(s)
        rest = y - operator(x0[None])[0]
        towards_y = regularized(operator, rest[None], r, variance)[0] / r
        return x0 + jnp.square(s) / a * pull(towards_y)[0]

    return _for_each(one, y)


def likelihood_gradient(
    denoise: Denoiser, operator: Operator, y: Array, noise_std: Array | float
) -> Denoiser:
    """Guides as if the estimate were certain, ``V_t = 0``: DPS with the true ``1 / v``.

    ``x0 + (s^2 / a) (dx0 / dx_t)' H' (y - H x0) / v``. Over-confident, and stiff: it needs many
    steps where the noise of measurements is small. `posterior_samplers.dps` is the published form.

    Args:
        denoise: as in `moment_matching`.
        operator: H.
        y: measurements `[B, *out_shape]`.
        noise_std: of the measurements, in the units of data, above 0.

    Returns:
        ``(x_t, log_snr [B], condition) -> estimate of x given x_t and y``.

    Source:
        Chung et al. 2023, "Diffusion posterior sampling for general noisy inverse problems",
        equation 15.
    """

    def one(x_t: Array, log_snr: Array, y: Array, condition: Any) -> Array:
        x0, pull = jax.vjp(lambda x: _denoise_one(denoise, x, log_snr, condition), x_t)
        a, s = amplitudes(log_snr)
        rest = y - operator(x0[None])[0]
        towards_y = operator.adjoint(rest[None])[0] / jnp.square(noise_std)
        return x0 + jnp.square(s) / a * pull(towards_y)[0]

    return _for_each(one, y)


def residual_gradient(
    denoise: Denoiser, operator: Operator, x_t: Array, log_snr: Array, y: Array, condition: Any
) -> tuple[Array, Array]:
    """Returns the estimates `[B, ...]` and the gradients in x_t of their ``||y - H x0||``.

    Args:
        denoise: as in `moment_matching`.
        operator: H.
        x_t: noisy data `[B, ...]`.
        log_snr: `[B]`.
        y: measurements `[B, *out_shape]`.
        condition: given to the denoiser.

    Returns:
        ``(x0, gradient)``; the gradient is 0 where nothing is left to explain.
    """

    def one(x_t: Array, log_snr: Array, y: Array, condition: Any) -> tuple[Array, Array]:
        x0, pull = jax.vjp(lambda x: _denoise_one(denoise, x, log_snr, condition), x_t)
        rest = y - operator(x0[None])[0]
        length = jnp.sqrt(jnp.sum(jnp.square(rest)))
        (gradient,) = pull(-operator.adjoint(rest[None])[0])
        return x0, gradient / jnp.where(length > 0.0, length, 1.0)

    return jax.vmap(one)(x_t, log_snr, y, condition)


def _solve_while_positive(
    matvec: Callable[[Array], Array], right: Array, num_iterations: int
) -> Array:
    """Conjugate gradients from 0 that end at the first direction of no positive curvature.

    Source:
        Steihaug 1983, "The conjugate gradient method and trust regions in large scale
        optimization".
    """
    start = jnp.sum(jnp.square(right))

    def is_going(carry: Any) -> Array:
        *_, gamma, i, is_good = carry
        return is_good & (i < num_iterations) & (gamma > _TOLERANCE**2 * start)

    def iterate(carry: Any) -> Any:
        u, rest, direction, gamma, i, _ = carry
        product = matvec(direction)
        curvature = jnp.sum(direction * product)
        is_good = curvature > 0.0
        length = jnp.where(is_good, gamma / jnp.where(is_good, curvature, 1.0), 0.0)
        rest = rest - length * product
        new_gamma = jnp.sum(jnp.square(rest))
        u, direction = u + length * direction, rest + new_gamma / gamma * direction
        return u, rest, direction, new_gamma, i + 1, is_good

    carry = (jnp.zeros_like(right), right, right, start, jnp.asarray(0), jnp.asarray(True))
    return jax.lax.while_loop(is_going, iterate, carry)[0]


def _denoise_one(denoise: Denoiser, x: Array, log_snr: Array, condition: Any) -> Array:
    return denoise(x[None], log_snr[None], jax.tree.map(lambda c: c[None], condition))[0]


def _for_each(one: Callable[[Array, Array, Array, Any], Array], y: Array) -> Denoiser:
    def guided(x_t: Array, log_snr: Array, condition: Any = None) -> Array:
        return jax.vmap(one)(x_t, log_snr, y, condition)

    return guided
