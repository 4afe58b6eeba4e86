"""Linear maps of channels: permutations, and invertible 1x1 convolutions."""

from collections.abc import Sequence

import chex
import flax.linen as nn
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np

from jaxgen.flows.bijectors.composition import no_log_det
from jaxgen.flows.bijectors.elementwise import bounded
from jaxgen.types import Array

_MAX_LOG_SCALE = 2.0


class Permutation(nn.Module):
    """Puts channels, or the numbers of a vector, in another order.

    Attributes:
        order: ``z[i] = x[order[i]]``, each number from 0 to C - 1 once.
    """

    order: Sequence[int]

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, ..., C]`."""
        chex.assert_axis_dimension(x, -1, len(self.order))
        return x[..., np.asarray(self.order)], no_log_det(x)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, ..., C]`."""
        chex.assert_axis_dimension(z, -1, len(self.order))
        return z[..., np.argsort(np.asarray(self.order))], no_log_det(z)


class InvertibleConv(nn.Module):
    """A 1x1 convolution ``z = W x`` with ``W = P L U``, or such a map of a vector.

    P turns the order of the channels round; L has ones and U positive numbers within a bound on
    their diagonals, so that the map stays invertible. It starts as P.

    Source:
        Kingma & Dhariwal 2018, "Glow: generative flow with invertible 1x1 convolutions", equations
        10 and 11; started at the identity times P as in Durkan et al. 2019, "Neural spline flows",
        section 3.3.
    """

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, ..., C]`."""
        lower, upper, log_scale = self._factors(x.shape[-1])
        kernel = jnp.matmul(lower, upper, precision="highest")
        return _product(x, kernel[:, ::-1]), _log_det(x, log_scale)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, ..., C]`."""
        lower, upper, log_scale = self._factors(z.shape[-1])
        # Solved for the identity: C solutions and a product instead of one for each pixel.
        inverse = jsp.linalg.solve_triangular(lower, jnp.eye(len(lower)), lower=True)
        inverse = jsp.linalg.solve_triangular(upper, inverse, unit_diagonal=True)
        return _product(z, inverse[::-1]), -_log_det(z, log_scale)

    @nn.compact
    def _factors(self, num: int) -> tuple[Array, Array, Array]:
        """Those of the rows' kernel `(P L U)^T` but P: lower, upper of ones, ln diagonal."""
        zeros = nn.initializers.zeros_init()
        lower = self.param("lower", zeros, (num, num))
        upper = self.param("upper", zeros, (num, num))
        log_scale = bounded(self.param("log_scale", zeros, (num,)), _MAX_LOG_SCALE)
        lower = jnp.tril(lower, -1) + jnp.diag(jnp.exp(log_scale))
        return lower, jnp.triu(upper, 1) + jnp.eye(num), log_scale


def _product(x: Array, kernel: Array) -> Array:
    # Of two axes, since XLA's CPU compiler transposes for more; in full precision, since errors
    # of the forward map come back amplified.
    y = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel, precision="highest")
    return y.reshape(x.shape)


def _log_det(x: Array, log_scale: Array) -> Array:
    num_places = x[0].size // x.shape[-1]
    return jnp.broadcast_to(num_places * jnp.sum(log_scale), (len(x),))
