"""How far a sample covariance is to be drawn towards a multiple of the identity.

With S the covariance of N examples of n numbers and ``mu = tr S / n`` the shrunk covariance is
``(1 - r) S + r mu I``. The coefficients r below minimise its expected squared error.
"""

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.classical.products import einsum
from jaxgen.types import Array


@jax.jit
def ledoit_wolf(x: Array) -> Array:
    """Shrinkage coefficient for data of any distribution.

    ``r = min(1, (mean_k |x_k|^4 - F) / N / (F - n mu^2))`` for centred x and
    ``F = sum_ij S_ij^2``.

    Args:
        x: data `[N, n]`, of any real type, N at least 2.

    Returns:
        r in [0, 1], a scalar; 1 where S is a multiple of the identity already.

    Source:
        Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
        matrices", section 3.
    """
    x, square, trace = _moments(x)
    size = x.shape[1]
    fourth = jnp.mean(jnp.sum(x**2, axis=1) ** 2)
    return _ratio((fourth - square) / len(x), square - trace**2 / size)


@jax.jit
def oas(x: Array) -> Array:
    """Shrinkage coefficient for Gaussian data, by the oracle approximation.

    ``r = min(1, [(1 - 2/n) F + t^2] / [(N + 1 - 2/n) (F - t^2 / n)])`` with ``t = tr S`` and
    ``F = sum_ij S_ij^2``. Scikit-learn leaves out both ``2/n``.

    Args:
        x: data `[N, n]`, of any real type, N at least 2.

    Returns:
        r in [0, 1], a scalar; 1 where S is a multiple of the identity already.

    Source:
        Chen et al. 2010, "Shrinkage algorithms for MMSE covariance estimation", equation 23.
    """
    x, square, trace = _moments(x)
    num, size = x.shape
    above = (1.0 - 2.0 / size) * square + trace**2
    return _ratio(above, (num + 1.0 - 2.0 / size) * (square - trace**2 / size))


def _moments(x: Array) -> tuple[Array, Array, Array]:
    """Centred data, the sum of S_ij^2 and the trace of S, by the smaller of S and Gram's matrix."""
    chex.assert_rank(x, 2)
    x = at_least_float32(x)
    x = x - jnp.mean(x, axis=0, keepdims=True)
    num, size = x.shape
    product = einsum("ni,nj->ij", x, x) if size <= num else einsum("in,jn->ij", x, x)
    return x, jnp.sum((product / num) ** 2), jnp.sum(x**2) / num


def _ratio(above: Array, below: Array) -> Array:
    # Rounding can leave a little below 0 where S is a multiple of the identity.
    ratio = above / jnp.where(below > 0.0, below, 1.0)
    return jnp.where(below > 0.0, jnp.clip(ratio, 0.0, 1.0), 1.0)
