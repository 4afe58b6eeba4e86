"""A Gaussian by a few factors and independent noise: factor analysis, PPCA, diagonal."""

import functools

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.linalg import cho_solve, solve_triangular

from jaxgen.arrays import at_least_float32, example_keys, sample_by_example, split_keys
from jaxgen.classical.gaussian.conditional import GaussianConditional
from jaxgen.classical.gaussian.protocol import LOG_2_PI, check_vectors, log_det
from jaxgen.classical.products import einsum
from jaxgen.types import Array, Key


@struct.dataclass
class FactorGaussian:
    """A Gaussian with covariance ``C = W W' + diag(psi)``, of q factors; q = 0 makes it diagonal.

    By Woodbury's identity only ``M = I + W' diag(1 / psi) W``, `[q, q]`, is factorised, and no
    `[n, n]` matrix is formed.

    Args:
        mean: `[n]`.
        factors: W, `[n, q]`.
        noise: psi, variances above 0, `[n]`.
    """

    mean: Array
    factors: Array
    noise: Array

    @jax.jit
    def log_prob(self, x: Array, observed: Array | None = None) -> Array:
        """Log-density of ``x [B, n]``, or of what is observed of it: `[B]` in nats."""
        check_vectors(x, len(self.mean), observed)
        x = at_least_float32(x) - self.mean[None]
        weight, inner = self.weigh(observed)
        is_seen = weight > 0.0
        log_dets = jnp.sum(jnp.where(is_seen, jnp.log(self.noise)[None], 0.0), axis=1)
        log_dets += log_det(inner) + LOG_2_PI * jnp.sum(is_seen, axis=1)
        return -0.5 * (self._distance(x, weight, inner) + log_dets)

    @functools.partial(jax.jit, static_argnames="num")
    def sample(self, key: Key, num: int, temperature: Array | float = 1.0) -> Array:
        """Samples `[num, n]` by one key or keys `[num]`, deviations times `temperature`."""
        size, num_factors = self.factors.shape
        factor_keys, noise_keys = split_keys(example_keys(key, num), 2)
        z = sample_by_example(jax.random.normal, factor_keys, (num, num_factors))
        noise = sample_by_example(jax.random.normal, noise_keys, (num, size))
        moved = einsum("nq,bq->bn", self.factors, z) + jnp.sqrt(self.noise)[None] * noise
        return self.mean[None] + temperature * moved

    @jax.jit
    def fill(self, x: Array, observed: Array) -> Array:
        """The expectation of all numbers given those observed, `[B, n]`."""
        check_vectors(x, len(self.mean), observed)
        x = at_least_float32(x)
        z = self.scores(x - self.mean[None], *self.weigh(observed))
        filled = self.mean[None] + einsum("nq,bq->bn", self.factors, z)
        return jnp.where(jnp.atleast_2d(observed), x, filled)

    def condition(self, x: Array, observed: Array) -> "GaussianConditional":
        """The distribution of all numbers given those of ``x [B, n]`` that are observed."""
        check_vectors(x, len(self.mean), observed)
        return GaussianConditional(self, x, observed)

    @jax.jit
    def multiply(self, x: Array) -> Array:
        """The covariance times each of ``x [B, n]``."""
        inner = einsum("nq,bn->bq", self.factors, x)
        return einsum("nq,bq->bn", self.factors, inner) + self.noise[None] * x

    @jax.jit
    def solve(self, x: Array) -> Array:
        """The inverse of the covariance times each of ``x [B, n]``."""
        weight, inner = self.weigh(None)
        z = self.scores(x, weight, inner)
        return weight * (x - einsum("nq,bq->bn", self.factors, z))

    @jax.jit
    def distance(self, x: Array) -> Array:
        """``(x - m)' C^-1 (x - m)`` of ``x [B, n]``, `[B]`: chi-square of n degrees for draws."""
        return self._distance(at_least_float32(x) - self.mean[None], *self.weigh(None))

    @jax.jit
    def variance(self) -> Array:
        """Of each number, `[n]`."""
        return jnp.sum(self.factors**2, axis=1) + self.noise

    @jax.jit
    def precision(self) -> Array:
        """The diagonal of the covariance's inverse, `[n]`: one over the variance given the rest."""
        weight, inner = self.weigh(None)
        half = solve_triangular(inner[0], self.factors.T, lower=True)
        precision = weight[0] - jnp.sum((half * weight) ** 2, axis=0)
        return jnp.maximum(precision, 1.0 / self.variance())  # Rounding alone takes it lower.

    def scaled(self, scale: Array | float, noise_variance: Array | float) -> "FactorGaussian":
        """The distribution of ``scale x + noise`` with independent noise."""
        noise = scale**2 * self.noise + noise_variance
        return FactorGaussian(scale * self.mean, scale * self.factors, noise)

    @jax.jit
    def covariance(self) -> Array:
        """C, `[n, n]`."""
        return einsum("nq,mq->nm", self.factors, self.factors) + jnp.diag(self.noise)

    def weigh(self, observed: Array | None) -> tuple[Array, Array]:
        """Weights ``1 / psi`` of what is observed, `[r, n]`, and the factors of M, `[r, q, q]`.

        r is 1 where one mask, or none, holds for all examples.
        """
        weight = 1.0 / self.noise[None]
        if observed is not None:
            weight = jnp.where(jnp.atleast_2d(observed), weight, 0.0)
        inner = einsum("nq,rn,np->rqp", self.factors, weight, self.factors)
        identity = jnp.eye(self.factors.shape[1], dtype=inner.dtype)[None]
        return weight, jnp.linalg.cholesky(inner + identity)

    def scores(self, x: Array, weight: Array, inner: Array) -> Array:
        """Expectation of the factors' scores, ``M^-1 W' diag(weight) x`` of centred x, `[B, q]`."""
        seen = jnp.where(weight > 0.0, x, 0.0)  # What is hidden may be NaN.
        projected = einsum("nq,bn->bq", self.factors, weight * seen)
        if len(inner) == 1:
            return cho_solve((inner[0], True), projected.T).T
        return jax.vmap(lambda factor, each: cho_solve((factor, True), each))(inner, projected)

    def _distance(self, x: Array, weight: Array, inner: Array) -> Array:
        z = self.scores(x, weight, inner)
        # The least-squares form: the difference of d' psi^-1 d and |L^-1 W' psi^-1 d|^2 cancels.
        residual = jnp.where(weight > 0.0, x - einsum("nq,bq->bn", self.factors, z), 0.0)
        return jnp.sum(weight * residual**2, axis=1) + jnp.sum(z**2, axis=1)
