"""A Gaussian by the Cholesky factor of its covariance."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.linalg import cho_solve, solve_triangular

from jaxgen.arrays import at_least_float32, sample_by_example
from jaxgen.classical.gaussian.conditional import GaussianConditional
from jaxgen.classical.gaussian.protocol import LOG_2_PI, check_vectors, log_det
from jaxgen.classical.products import einsum
from jaxgen.types import Array, Key


@struct.dataclass
class FullGaussian:
    """A Gaussian with covariance ``C = L L'``.

    Args:
        mean: `[n]`.
        cholesky: L, lower triangular, `[n, n]`.
    """

    mean: Array
    cholesky: Array

    @jax.jit
    def log_prob(self, x: Array, observed: Array | None = None) -> Array:
        """Log-density of ``x [B, n]``, or of what is observed of it: `[B]` in nats."""
        check_vectors(x, len(self.mean), observed)
        x = at_least_float32(x) - self.mean[None]
        if observed is None:
            return _log_density(self._whiten(x), self.cholesky, x.shape[1])
        return self._by_mask(self._marginal_log_prob, x, observed)

    @functools.partial(jax.jit, static_argnames="num")
    def sample(self, key: Key, num: int, temperature: Array | float = 1.0) -> Array:
        """Samples `[num, n]` by one key or keys `[num]`, deviations times `temperature`."""
        noise = sample_by_example(jax.random.normal, key, (num, len(self.mean)))
        return self.mean[None] + temperature * einsum("ij,bj->bi", self.cholesky, noise)

    @jax.jit
    def fill(self, x: Array, observed: Array) -> Array:
        """The expectation of all numbers given those observed, `[B, n]`."""
        check_vectors(x, len(self.mean), observed)
        x = at_least_float32(x)
        centred = x - self.mean[None]
        filled = self.mean[None] + self._by_mask(self._regression, centred, observed)
        return jnp.where(jnp.atleast_2d(observed), x, filled)

    def condition(self, x: Array, observed: Array) -> "GaussianConditional":
        """The distribution of all numbers given those of ``x [B, n]`` that are observed."""
        check_vectors(x, len(self.mean), observed)
        return GaussianConditional(self, x, observed)

    @jax.jit
    def multiply(self, x: Array) -> Array:
        """The covariance times each of ``x [B, n]``."""
        return einsum("ij,bj->bi", self.cholesky, einsum("ji,bj->bi", self.cholesky, x))

    @jax.jit
    def solve(self, x: Array) -> Array:
        """The inverse of the covariance times each of ``x [B, n]``."""
        return cho_solve((self.cholesky, True), x.T).T

    @jax.jit
    def distance(self, x: Array) -> Array:
        """``(x - m)' C^-1 (x - m)`` of ``x [B, n]``, `[B]`: chi-square of n degrees for draws."""
        return jnp.sum(self._whiten(at_least_float32(x) - self.mean[None]) ** 2, axis=1)

    @jax.jit
    def variance(self) -> Array:
        """Of each number, `[n]`."""
        return jnp.sum(self.cholesky**2, axis=1)

    @jax.jit
    def precision(self) -> Array:
        """The diagonal of the covariance's inverse, `[n]`: one over the variance given the rest."""
        identity = jnp.eye(len(self.mean), dtype=self.cholesky.dtype)
        return jnp.sum(solve_triangular(self.cholesky, identity, lower=True) ** 2, axis=0)

    def scaled(self, scale: Array | float, noise_variance: Array | float) -> "FullGaussian":
        """The distribution of ``scale x + noise`` with independent noise."""
        covariance = scale**2 * self.covariance()
        noise = noise_variance * jnp.eye(len(self.mean), dtype=covariance.dtype)
        return FullGaussian(scale * self.mean, jnp.linalg.cholesky(covariance + noise))

    @jax.jit
    def covariance(self) -> Array:
        """C, `[n, n]`."""
        return einsum("ij,kj->ik", self.cholesky, self.cholesky)

    def observed_cholesky(self, mask: Array) -> Array:
        """Factor of the covariance of what a mask `[n]` shows, with ones for the rest, `[n, n]`."""
        shown = jnp.where(mask[:, None] & mask[None, :], self.covariance(), 0.0)
        return jnp.linalg.cholesky(shown + jnp.diag(jnp.where(mask, 0.0, 1.0).astype(shown.dtype)))

    def _whiten(self, x: Array) -> Array:
        return solve_triangular(self.cholesky, x.T, lower=True).T

    def _marginal_log_prob(self, x: Array, mask: Array) -> Array:
        cholesky = self.observed_cholesky(mask)
        z = solve_triangular(cholesky, jnp.where(mask[None], x, 0.0).T, lower=True).T
        return _log_density(z, cholesky, jnp.sum(mask))

    def _regression(self, x: Array, mask: Array) -> Array:
        solved = cho_solve((self.observed_cholesky(mask), True), jnp.where(mask[None], x, 0.0).T).T
        return self.multiply(jnp.where(mask[None], solved, 0.0))

    def _by_mask(
        self, function: Callable[[Array, Array], Array], x: Array, observed: Array
    ) -> Array:
        """Applies ``(x [B, n], mask [n])``: one factorisation for a shared mask, else one each."""
        if observed.ndim == 1:
            return function(x, observed)
        return jax.lax.map(lambda pair: function(pair[0][None], pair[1])[0], (x, observed))


def _log_density(z: Array, cholesky: Array, count: Array | int) -> Array:
    """Of whitened values `[B, n]`, `[B]`."""
    return -0.5 * (jnp.sum(z**2, axis=-1) + log_det(cholesky) + count * LOG_2_PI)
