"""Planar and radial layers, which bend space about a plane or a point; both with exact inverses."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.types import Array

_NUM_BISECTIONS = 12
_NUM_NEWTON_STEPS = 6
_LEAST_SLOPE = 1e-3
_NEUTRAL = math.log(math.expm1(1.0 - _LEAST_SLOPE))


class Planar(nn.Module):
    """``z = x + v tanh(w . x + b)`` with ``v = u + (m(w . u) - w . u) w / |w|^2``.

    ``m(t) = -1 + softplus(t)`` keeps ``w . v`` above -1, where the map is invertible; the inverse
    is the root of an increasing function of one number.

    Source:
        Rezende & Mohamed 2015, "Variational inference with normalizing flows", equation 10 and
        appendix A.1.
    """

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, D]`."""
        w, v, b, strength = self._parameters(x.shape[-1])
        h = jnp.tanh(_dot(x, w) + b)
        return x + h[:, None] * v[None], jnp.log1p(strength * (1.0 - h * h))

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, D]`."""
        w, v, b, strength = self._parameters(z.shape[-1])
        h = jnp.tanh(_root(_dot(z, w), strength, b) + b)
        return z - h[:, None] * v[None], -jnp.log1p(strength * (1.0 - h * h))

    @nn.compact
    def _parameters(self, num: int) -> tuple[Array, Array, Array, Array]:
        """Gives w, v, b and ``w . v``."""
        w = self.param("w", nn.initializers.normal(num**-0.5), (num,))
        # It starts at v = 0, the identity, where ``-1 + softplus(w . u)`` is 0.
        w_0 = jax.lax.stop_gradient(w)
        u = self.param("u", lambda _: _NEUTRAL * w_0 / jnp.maximum(_dot(w_0, w_0), 1e-12))
        b = self.param("b", nn.initializers.zeros_init(), ())
        raw = _dot(w, u)
        # -1 + tiny rounds to -1, and its logarithm to -inf.
        strength = -1.0 + _LEAST_SLOPE + jax.nn.softplus(raw)
        v = u + (strength - raw) * w / jnp.maximum(_dot(w, w), 1e-12)
        return w, v, b, _dot(w, v)


def _root(target: Array, strength: Array, b: Array) -> Array:
    """Solves ``a + strength tanh(a + b) = target`` for a, with the gradient of a root."""
    fixed = jax.lax.stop_gradient((target, strength, b))

    def bisect(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        is_below = _residual(middle, *fixed)[0] < 0.0
        return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

    def newton(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        a, low, high = state
        value, slope = _residual(a, *fixed)
        low, high = jnp.where(value < 0.0, a, low), jnp.where(value < 0.0, high, a)
        # A step out of the bracket, where the function is flat, is a bisection.
        step = a - value / slope
        is_inside = (step >= low) & (step <= high)
        return jnp.where(is_inside, step, 0.5 * (low + high)), low, high

    reach = jnp.abs(fixed[1])
    low, high = jax.lax.fori_loop(0, _NUM_BISECTIONS, bisect, (fixed[0] - reach, fixed[0] + reach))
    start = 0.5 * (low + high), low, high
    a = jax.lax.stop_gradient(jax.lax.fori_loop(0, _NUM_NEWTON_STEPS, newton, start)[0])
    # One more step, with gradients: they are those that the implicit function theorem gives.
    value, slope = _residual(a, target, strength, b)
    return a - value / slope


def _residual(a: Array, target: Array, strength: Array, b: Array) -> tuple[Array, Array]:
    """How far a is from the root, and the slope."""
    h = jnp.tanh(a + b)
    return a + strength * h - target, 1.0 + strength * (1.0 - h * h)


def _dot(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
