"""What a Gaussian over vectors can do, however its covariance is stored.

A mask `observed`, `[n]` for all examples or `[B, n]`, is true where a number is known; the others
are integrated out, whatever they hold. Everything goes through Cholesky factors: no determinant and
no inverse is formed.
"""

import math
from typing import Protocol

import chex
import jax.numpy as jnp

from jaxgen.types import Array, Key

LOG_2_PI = math.log(2.0 * math.pi)


class Gaussian(Protocol):
    """A Gaussian over vectors `[n]`, a pytree."""

    @property
    def mean(self) -> Array:
        """`[n]`."""
        ...

    def log_prob(self, x: Array, observed: Array | None = None) -> Array:
        """Log-density of ``x [B, n]``, or of what is observed of it: `[B]` in nats."""
        ...

    def sample(self, key: Key, num: int, temperature: Array | float = 1.0) -> Array:
        """Samples `[num, n]` by one key or keys `[num]`, deviations times `temperature`."""
        ...

    def fill(self, x: Array, observed: Array) -> Array:
        """The expectation of all numbers given those observed, `[B, n]`."""
        ...

    def multiply(self, x: Array) -> Array:
        """The covariance times each of ``x [B, n]``."""
        ...

    def solve(self, x: Array) -> Array:
        """The inverse of the covariance times each of ``x [B, n]``."""
        ...

    def distance(self, x: Array) -> Array:
        """``(x - m)' C^-1 (x - m)`` of ``x [B, n]``, `[B]`: chi-square of n degrees for draws."""
        ...

    def variance(self) -> Array:
        """Of each number, `[n]`."""
        ...

    def precision(self) -> Array:
        """The diagonal of the covariance's inverse, `[n]`: one over the variance given the rest."""
        ...

    def scaled(self, scale: Array | float, noise_variance: Array | float) -> "Gaussian":
        """The distribution of ``scale x + noise`` with independent noise."""
        ...

    def covariance(self) -> Array:
        """C, `[n, n]`."""
        ...


def check_vectors(x: Array, size: int, observed: Array | None = None) -> None:
    """Checks vectors, and which of their numbers are said to be known.

    Args:
        x: `[B, n]`.
        size: n.
        observed: true where a number is known, `[n]` or `[B, n]`; None for all.

    Raises:
        AssertionError: if a shape is another.
        ValueError: if the mask is not one of booleans, such as numbers or places.
    """
    chex.assert_shape(x, (None, size))
    if observed is None:
        return
    if observed.dtype != bool:
        raise ValueError(
            f"observed: {observed.dtype}, expected booleans, true where a number is known"
        )
    chex.assert_shape(observed, (size,) if observed.ndim == 1 else (len(x), size))


def log_det(cholesky: Array) -> Array:
    """Logarithm of the determinant of a matrix.

    Args:
        cholesky: its factor, lower triangular, `[..., n, n]`.

    Returns:
        `[...]`.
    """
    diagonal = jnp.diagonal(cholesky, axis1=-2, axis2=-1)
    return 2.0 * jnp.sum(jnp.log(diagonal), axis=-1)
