"""Radial layers, which draw space to a point or push it away."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.types import Array


class Radial(nn.Module):
    """``z = x + beta (x - x_0) / (alpha + r)`` with ``r = |x - x_0|``.

    ``alpha = softplus`` and ``beta = -alpha + softplus`` of free parameters keep it invertible. The
    inverse scales ``z - x_0`` by the positive root of a quadratic equation.

    Source:
        Rezende & Mohamed 2015, "Variational inference with normalizing flows", equation 14 and
        appendix A.2.
    """

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, D]`."""
        center, alpha, beta = self._parameters(x.shape[-1])
        r = _norm(x - center[None])
        z = x + (beta / (alpha + r))[:, None] * (x - center[None])
        return z, _log_det(r, alpha, beta, x.shape[-1])

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, D]`."""
        center, alpha, beta = self._parameters(z.shape[-1])
        distance = _norm(z - center[None])
        b = alpha + beta - distance
        root = jnp.sqrt(b * b + 4.0 * alpha * distance)
        # Of the two forms of the root the one without a difference of like numbers.
        is_positive = b > 0.0
        safe = jnp.where(is_positive, b + root, 1.0)
        r = jnp.where(is_positive, 2.0 * alpha * distance / safe, 0.5 * (root - b))
        x = center[None] + (z - center[None]) * ((alpha + r) / (alpha + beta + r))[:, None]
        return x, -_log_det(r, alpha, beta, z.shape[-1])

    @nn.compact
    def _parameters(self, num: int) -> tuple[Array, Array, Array]:
        center = self.param("center", nn.initializers.normal(1.0), (num,))
        alpha = jax.nn.softplus(self.param("alpha", nn.initializers.zeros_init(), ()))
        # At 0 it is the identity, and alpha + beta is above 0 everywhere.
        slope = jax.nn.softplus(self.param("beta", nn.initializers.zeros_init(), ()))
        return center, alpha + 1e-3, slope - alpha


def _norm(x: Array) -> Array:
    """The Euclidean norm, with a gradient of 0 at 0."""
    square = jnp.sum(x * x, axis=-1)
    is_zero = square == 0.0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))


def _log_det(r: Array, alpha: Array, beta: Array, num: int) -> Array:
    """``(D - 1) ln(1 + beta / (alpha + r)) + ln(1 + alpha beta / (alpha + r)^2)``."""
    radius = alpha + r
    return (num - 1) * jnp.log1p(beta / radius) + jnp.log1p(alpha * beta / (radius * radius))
