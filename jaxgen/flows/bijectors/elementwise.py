"""Invertible functions of single numbers whose parameters a network gives: shift, affine, spline.

A coupling or an autoregressive layer makes a bijector of any of them. `raw` is what the network
puts out, `[..., num_params, C]` for numbers `[..., C]`; zeros mean the identity.
"""

import dataclasses
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import at_least_float32
from jaxgen.types import Array


class Elementwise(Protocol):
    """A family of increasing functions of one number."""

    @property
    def num_params(self) -> int:
        """Parameters of each number."""
        ...

    def encode(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """Maps `x [..., C]` by parameters `[..., P, C]`: `(z, ln dz/dx)`, `[..., C]` each."""
        ...

    def decode(self, z: Array, raw: Array) -> tuple[Array, Array]:
        """Inverse of `encode`: `(x, ln dx/dz)`, `[..., C]` each."""
        ...


@dataclasses.dataclass(frozen=True)
class Additive:
    """``z = x + t``, which keeps volumes.

    Source:
        Dinh et al. 2015, "NICE: non-linear independent components estimation", equation 9.
    """

    num_params: int = dataclasses.field(default=1, init=False)

    def encode(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """Returns `(z, ln dz/dx)`."""
        return x + raw[..., 0, :], jnp.zeros_like(x)

    def decode(self, z: Array, raw: Array) -> tuple[Array, Array]:
        """Returns `(x, ln dx/dz)`."""
        return z - raw[..., 0, :], jnp.zeros_like(z)


@dataclasses.dataclass(frozen=True)
class Affine:
    """``z = x exp(s) + t`` with ``s = c tanh(raw / c)``, which can widen and narrow alike.

    Attributes:
        max_log_scale: c, above 0. Without a bound a network far from its data divides by 0.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", equations 4 and 5.
    """

    max_log_scale: float = 2.0
    num_params: int = dataclasses.field(default=2, init=False)

    def encode(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """Returns `(z, ln dz/dx)`."""
        shift, log_scale = raw[..., 0, :], bounded(raw[..., 1, :], self.max_log_scale)
        return x * jnp.exp(log_scale) + shift, log_scale

    def decode(self, z: Array, raw: Array) -> tuple[Array, Array]:
        """Returns `(x, ln dx/dz)`."""
        shift, log_scale = raw[..., 0, :], bounded(raw[..., 1, :], self.max_log_scale)
        return (z - shift) * jnp.exp(-log_scale), -log_scale


def bounded(raw: Array, bound: float | np.ndarray) -> Array:
    """The identity near 0, within a bound everywhere: ``c tanh(raw / c)``.

    Args:
        raw: of any shape.
        bound: c, above 0, a number or an array.

    Returns:
        float32 of the shape of `raw`, in [-c, c].
    """
    return jnp.tanh(at_least_float32(raw) / bound) * bound
