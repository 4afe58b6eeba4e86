"""Gaussians fitted to data in closed form: full, shrunk, and by principal components.

With fewer examples than numbers everything goes through Gram's matrix, `[N, N]`: no `[n, n]` matrix
is formed. Covariances divide by N.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from flax import struct

from jaxgen.arrays import at_least_float32
from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.gaussian.protocol import Gaussian
from jaxgen.classical.products import einsum
from jaxgen.types import Array

MIN_VARIANCE = 1e-6
"""Floor of the eigenvalues of a covariance, as a share of the mean variance. Float32 knows a
variance to about a tenth of it."""


@struct.dataclass
class PrincipalComponents:
    """The mean of data and the directions in which they vary most.

    Attributes:
        mean: `[n]`.
        basis: orthonormal directions, `[n, q]`, those of the largest variance first.
        variances: along them, `[q]`.
        total: variance in all directions, the trace of the covariance.
    """

    mean: Array
    basis: Array
    variances: Array
    total: Array

    def project(self, x: Array) -> Array:
        """Coordinates of ``x [B, n]``, `[B, q]`; of a PPCA, not its scores' expectation."""
        return einsum("bn,nq->bq", at_least_float32(x) - self.mean[None], self.basis)

    def reconstruct(self, z: Array) -> Array:
        """The points `[B, n]` of the subspace with coordinates ``z [B, q]``."""
        return self.mean[None] + einsum("bq,nq->bn", z, self.basis)


def principal_components(x: Array, num: int) -> PrincipalComponents:
    """Finds the eigenvectors of the covariance with the largest eigenvalues.

    Args:
        x: data `[N, n]`, of any real type.
        num: q, 1 to n and below N.

    Returns:
        The components. One without variance is a direction of zeros.

    Raises:
        ValueError: if `num` is out of its range.

    Source:
        Turk & Pentland 1991, "Eigenfaces for recognition", section 2, for N below n.
    """
    chex.assert_rank(x, 2)
    largest = min(len(x) - 1, x.shape[1])
    if not 1 <= num <= largest:
        raise ValueError(
            f"num: {num}, expected 1 to {largest} ({len(x)} examples of {x.shape[1]} numbers)"
        )
    return _principal_components(x, num)


@functools.partial(jax.jit, static_argnames="num")
def _principal_components(x: Array, num: int) -> PrincipalComponents:
    x, mean = centred(x)
    total = jnp.sum(x**2) / len(x)
    if len(x) > x.shape[1]:
        values, basis = jnp.linalg.eigh(einsum("bi,bj->ij", x, x) / len(x))
        values, basis = values[::-1][:num], basis[:, ::-1][:, :num]
        return PrincipalComponents(mean, basis, jnp.maximum(values, 0.0), total)
    values, vectors = jnp.linalg.eigh(einsum("in,jn->ij", x, x) / len(x))
    values, vectors = values[::-1][:num], vectors[:, ::-1][:, :num]
    raw = einsum("bn,bq->nq", x, vectors)
    # Rounding turns a variance of 0 into one of either sign, and its direction into noise.
    is_seen = values > _rounding(x) * values[0]
    norm = jnp.where(is_seen, jnp.linalg.norm(raw, axis=0), 1.0)
    basis = jnp.where(is_seen[None], raw / norm[None], 0.0)
    return PrincipalComponents(mean, basis, jnp.where(is_seen, values, 0.0), total)


def fit(
    x: Array,
    *,
    shrinkage: Array | float = 0.0,
    noise_variance: float = 0.0,
    min_variance: float = MIN_VARIANCE,
) -> FullGaussian | FactorGaussian:
    """Fits a Gaussian with ``C = (1 - r) S + r mu I``, ``mu = tr S / n``.

    Args:
        x: data `[N, n]`, of any real type.
        shrinkage: r in [0, 1], such as `shrinkage.ledoit_wolf` or `shrinkage.oas` gives.
        noise_variance: of independent noise that the model has and the data lack, such as 1/12 for
            uniform noise in a pixel's bin: S and mu grow by it.
        min_variance: floor of the eigenvalues of C, as a share of their mean; 0 for none.

    Returns:
        The maximum of the likelihood under that floor, where r is 0: a `FullGaussian` for N above
        n, otherwise a `FactorGaussian` with N factors. Where all data are equal their variance is
        taken for 1 in the floor.

    Raises:
        ValueError: if there is no example, or a number is out of its range.

    Source:
        Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
        matrices", section 2.
    """
    chex.assert_rank(x, 2)
    if len(x) < 1:
        raise ValueError(f"x: {len(x)} examples, expected at least 1")
    if isinstance(shrinkage, float | int) and not 0.0 <= shrinkage <= 1.0:
        raise ValueError(f"shrinkage: {shrinkage}, expected in [0, 1]")
    if not min_variance >= 0.0:
        raise ValueError(f"min_variance: {min_variance}, expected at least 0")
    return _fit(x, shrinkage, noise_variance, min_variance)


@jax.jit
def _fit(
    x: Array, shrinkage: Array, noise_variance: Array, min_variance: Array
) -> FullGaussian | FactorGaussian:
    x, mean = centred(x)
    num, size = x.shape
    scale = jnp.sum(x**2) / (num * size) + noise_variance
    isotropic = shrinkage * (scale - noise_variance) + noise_variance
    floor = min_variance * jnp.where(scale > 0.0, scale, 1.0)
    if num > size:
        covariance = (1.0 - shrinkage) * einsum("bi,bj->ij", x, x) / num
        covariance += isotropic * jnp.eye(size, dtype=x.dtype)
        return FullGaussian(mean, floored_cholesky(covariance, floor))
    noise = jnp.maximum(isotropic, floor)
    values, vectors = jnp.linalg.eigh(einsum("in,jn->ij", x, x) / num)
    above = jnp.maximum((1.0 - shrinkage) * values + isotropic - noise, 0.0)
    # E sqrt(l) of the covariance is x'v / sqrt(N) of Gram's: no division by l where that is wanted.
    is_seen = values > _rounding(x) * values[-1]
    ratio = jnp.where(is_seen, above / jnp.where(is_seen, values, 1.0), 0.0)
    factors = einsum("bn,bq->nq", x, vectors) * jnp.sqrt(ratio / num)[None]
    return FactorGaussian(mean, factors, jnp.broadcast_to(noise, (size,)))


def fit_ppca(
    x: Array, num_factors: int, *, noise_variance: float = 0.0, min_variance: float = MIN_VARIANCE
) -> FactorGaussian:
    """Fits probabilistic PCA: ``C = W W' + v I`` of greatest likelihood.

    ``W = E_q (L_q - v I)^(1/2)`` of the largest eigenvalues, v the mean of the other n - q.

    Args:
        x: data `[N, n]`, of any real type.
        num_factors: q, 1 to n - 1 and below N.
        noise_variance: as in `fit`.
        min_variance: floor of v, as a share of the mean variance.

    Returns:
        The Gaussian.

    Raises:
        ValueError: if `num_factors` is out of its range.

    Source:
        Tipping & Bishop 1999, "Probabilistic principal component analysis", equations 7 and 8.
    """
    size = x.shape[1]
    if not 1 <= num_factors <= min(len(x), size) - 1:
        raise ValueError(
            f"num_factors: {num_factors}, expected 1 to {min(len(x), size) - 1} "
            f"({len(x)} examples of {size} numbers)"
        )
    parts = principal_components(x, num_factors)
    rest = (parts.total - jnp.sum(parts.variances)) / (size - num_factors) + noise_variance
    scale = parts.total / size + noise_variance
    noise = jnp.maximum(rest, min_variance * jnp.where(scale > 0.0, scale, 1.0))
    above = jnp.maximum(parts.variances + noise_variance - noise, 0.0)
    factors = parts.basis * jnp.sqrt(above)[None]
    return FactorGaussian(parts.mean, factors, jnp.broadcast_to(noise, (size,)))


def floored_cholesky(covariance: Array, floor: Array | float) -> Array:
    """Factor of a covariance whose eigenvalues are raised to a floor, ``E max(L, f) E'``.

    Among the covariances with no eigenvalue below f this one has the greatest likelihood; one with
    f added to every eigenvalue has not.

    Args:
        covariance: symmetric, `[n, n]`.
        floor: f, at least 0.

    Returns:
        Lower triangular, `[n, n]`.
    """
    identity = jnp.eye(len(covariance), dtype=covariance.dtype)
    is_above = jnp.all(jnp.isfinite(jnp.linalg.cholesky(covariance - floor * identity)))

    def clip(covariance: Array) -> Array:
        values, basis = jnp.linalg.eigh(covariance)
        return einsum("iq,q,jq->ij", basis, jnp.maximum(values, floor), basis)

    # A Cholesky factor costs a tenth of the eigenvalues, which are seldom wanted.
    return jnp.linalg.cholesky(jax.lax.cond(is_above, lambda c: c, clip, covariance))


def one_number_residual(gaussian: Gaussian, x: Array) -> Array:
    """How far each number lies from its expectation given all others, in standard deviations.

    ``z_i = (P d)_i / sqrt(P_ii)`` with ``P = C^-1`` and ``d = x - mean``: the residual
    ``(P d)_i / P_ii`` over its deviation ``1 / sqrt(P_ii)``. Of draws of the Gaussian each is a
    standard normal, so a map of them shows where an image is strange.

    Args:
        gaussian: the model.
        x: `[B, n]`.

    Returns:
        `[B, n]`, standard deviations.

    Source:
        Lauritzen 1996, "Graphical models", section 5.1.3, of the regression on the rest.
    """
    x = at_least_float32(x) - gaussian.mean[None]
    return gaussian.solve(x) / jnp.sqrt(gaussian.precision())[None]


def centred(x: Array) -> tuple[Array, Array]:
    """Takes the mean from data, exactly also where it is large.

    Args:
        x: `[N, n]`, of any real type.

    Returns:
        The deviations `[N, n]` and the mean `[n]`, float32 at least.
    """
    x = at_least_float32(x)
    mean = jnp.mean(x, axis=0, keepdims=True)
    # Far from the origin the mean itself is rounded; what is left of it is small and exact.
    rest = jnp.mean(x - mean, axis=0, keepdims=True)
    return x - mean - rest, (mean + rest)[0]


def _rounding(x: Array) -> float:
    """Share of the largest eigenvalue below which one is rounding."""
    return float(jnp.finfo(x.dtype).eps) * max(x.shape)
