"""Factor analysis of one data set: loadings and a noise variance of its own for each number."""

import chex
import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.fits import MIN_VARIANCE, centred, fit_ppca
from jaxgen.classical.products import einsum
from jaxgen.types import Array


def fit_factor_analysis(
    x: Array,
    num_factors: int,
    *,
    num_steps: int = 100,
    noise_variance: float = 0.0,
    min_variance: float = MIN_VARIANCE,
) -> FactorGaussian:
    """Fits ``C = W W' + diag(psi)`` by EM, from probabilistic PCA.

    With the covariance S of the data (and the noise) and ``B = W' C^-1`` a step is
    ``W <- S B' (I - B W + B S B')^-1`` and ``psi <- diag(S - W_new B S)``; the likelihood never
    falls. No `[n, n]` matrix is formed for fewer examples than numbers.

    Args:
        x: data `[N, n]`, of any real type.
        num_factors: q, 1 to n - 1 and below N.
        num_steps: of EM, at least 1.
        noise_variance: of independent noise that the model has and the data lack, such as 1/12 for
            uniform noise in a pixel's bin.
        min_variance: floor of psi, as a share of the mean variance.

    Returns:
        The Gaussian after the last step.

    Raises:
        ValueError: if `num_factors` or `num_steps` is out of its range.

    Source:
        Rubin & Thayer 1982, "EM algorithms for ML factor analysis", section 2; in this form
        Ghahramani & Hinton 1996, "The EM algorithm for mixtures of factor analyzers", section 2.
    """
    chex.assert_rank(x, 2)
    if num_steps < 1:
        raise ValueError(f"num_steps: {num_steps}, expected at least 1")
    begin = fit_ppca(x, num_factors, noise_variance=noise_variance, min_variance=min_variance)
    x, _ = centred(x)
    num, size = x.shape
    variance = jnp.sum(x**2, axis=0) / num + noise_variance
    floor = min_variance * jnp.maximum(jnp.mean(variance), jnp.finfo(x.dtype).tiny)
    covariance = einsum("bi,bj->ij", x, x) / num if num > size else None

    def times_covariance(loading: Array) -> Array:
        """S B' of `loading`, `[q, n]`: `[n, q]`."""
        if covariance is None:
            product = einsum("bn,bq->nq", x, einsum("bn,qn->bq", x, loading)) / num
        else:
            product = einsum("ij,qj->iq", covariance, loading)
        return product + noise_variance * loading.T

    def step(gaussian: FactorGaussian, _: None) -> tuple[FactorGaussian, None]:
        weight, inner = gaussian.weigh(None)
        loading = cho_solve((inner[0], True), gaussian.factors.T * weight)
        cross = times_covariance(loading)
        identity = jnp.eye(num_factors, dtype=x.dtype)
        # I - B W is the inverse of M: taken so, nothing cancels.
        square = cho_solve((inner[0], True), identity) + einsum("qn,np->qp", loading, cross)
        factors = cho_solve((jnp.linalg.cholesky(square), True), cross.T).T
        noise = jnp.maximum(variance - jnp.sum(factors * cross, axis=1), floor)
        return FactorGaussian(gaussian.mean, factors, noise), None

    return jax.lax.scan(step, begin, length=num_steps)[0]
