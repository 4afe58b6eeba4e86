"""The M step of mixtures: the parameters of greatest likelihood, given statistics and a floor.

The floor is a bound of the covariances, ``C_k >= f I``: eigenvalues below it are raised to it, and
no other is changed. That is the maximum under the bound, so EM climbs from any start above it. A
floor added to every variance, as is often done, gives no maximum, and the likelihood could fall.
"""

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve

from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.fits import floored_cholesky
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.mixture.density import Kind, Mixture
from jaxgen.classical.mixture.sufficient_statistics import Statistics
from jaxgen.classical.products import einsum
from jaxgen.types import Array


def maximize(kind: Kind, statistics: Statistics, *, min_variance: Array | float) -> Mixture:
    """Takes the M step.

    Args:
        kind: of the covariances.
        statistics: of the E step.
        min_variance: f, the floor of the covariances' eigenvalues, above 0 in units of the data.

    Returns:
        The mixture. For components with factors the step is one of EM over the scores as well
        (both the loadings and the noise are those of greatest expected likelihood).

    Source:
        Dempster et al. 1977, "Maximum likelihood from incomplete data via the EM algorithm",
        section 4.3; for factors Ghahramani & Hinton 1996, "The EM algorithm for mixtures of factor
        analyzers", and Tipping & Bishop 1999, "Mixtures of probabilistic principal component
        analyzers", appendix C.
    """
    # A component without weight would have the logit -inf, and products with it NaN.
    logits = jnp.log(jnp.maximum(statistics.share, jnp.finfo(statistics.share.dtype).tiny))
    if kind in ("full", "tied"):
        covariance = statistics.xx
        if kind == "tied":
            covariance = einsum("k,kij->ij", statistics.share, covariance)[None]
        cholesky = jax.lax.map(lambda c: floored_cholesky(c, min_variance), covariance)
        return Mixture(logits, FullGaussian(statistics.x, cholesky), kind)
    mean, factors, variance = _regress(statistics)
    if kind in ("spherical", "ppca"):
        average = jnp.mean(variance, axis=1, keepdims=True)
        variance = jnp.broadcast_to(average, variance.shape)
    noise = jnp.maximum(variance, min_variance)
    return Mixture(logits, FactorGaussian(mean, factors, noise), kind)


def _regress(statistics: Statistics) -> tuple[Array, Array, Array]:
    """Means, loadings and variances of what is left, by regression of numbers on scores."""
    if statistics.zz.shape[-1] == 0:
        return statistics.x, statistics.xz, statistics.xx

    def solve(zz: Array, xz: Array) -> Array:
        return cho_solve((jnp.linalg.cholesky(zz), True), xz.T).T

    factors = jax.vmap(solve)(statistics.zz, statistics.xz)
    mean = statistics.x - einsum("knq,kq->kn", factors, statistics.z)
    return mean, factors, statistics.xx - jnp.sum(factors * statistics.xz, axis=2)
