"""The weighted sums of an E step, of one Gaussian of a mixture.

Sums are taken about the mean that the step begins with, so that a large mean costs no digits. Where
numbers are missing, all is in expectation given those observed.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.linalg import cho_solve, solve_triangular

from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.products import einsum
from jaxgen.types import Array


@struct.dataclass
class Sums:
    """Weighted sums over examples, for each of K components.

    With d the deviation from the component's mean at the start of the step, and z the expected
    scores of its q factors (q = 0 where it has none):

    Attributes:
        count: of responsibilities, `[K]`.
        x: of d, `[K, n]`.
        xx: of ``d d'``, `[K, n, n]`, for full covariances; otherwise of ``d^2``, `[K, n]`.
        z: of z, `[K, q]`.
        xz: of ``d z'``, `[K, n, q]`.
        zz: of ``z z'`` and the covariance of z, `[K, q, q]`.
    """

    count: Array
    x: Array
    xx: Array
    z: Array
    xz: Array
    zz: Array


def component_sums(
    gaussian: FullGaussian | FactorGaussian,
    x: Array,
    weight: Array,
    observed: Array | None,
    noise_variance: float,
) -> Sums:
    """The sums of one component, without the axis of components.

    Args:
        gaussian: at the start of the step.
        x: examples `[b, n]`.
        weight: of each, responsibilities times sample weights, `[b]`.
        observed: true where a number is known, `[b, n]`; None where all are.
        noise_variance: of independent noise in each number.

    Returns:
        The sums.

    Source:
        Ghahramani & Hinton 1996, "The EM algorithm for mixtures of factor analyzers", section 3;
        of missing numbers Ghahramani & Jordan 1994, "Supervised learning from incomplete data via
        an EM approach", section 4.
    """
    x = x - gaussian.mean[None]
    if isinstance(gaussian, FullGaussian):
        return _full_sums(gaussian, x, weight, observed, noise_variance)
    if observed is None:
        return _factor_sums(gaussian, x, weight, noise_variance)
    return _masked_factor_sums(gaussian, x, weight, observed, noise_variance)


def observed_trace(gaussian: FullGaussian | FactorGaussian, observed: Array) -> Array:
    """Trace of the inverse of the covariance of what is observed.

    Args:
        gaussian: over n numbers.
        observed: masks `[b, n]`.

    Returns:
        `[b]`.
    """
    if isinstance(gaussian, FullGaussian):

        def trace(mask: Array) -> Array:
            shown = jnp.diag(mask.astype(gaussian.cholesky.dtype))
            return jnp.sum(
                solve_triangular(gaussian.observed_cholesky(mask), shown, lower=True) ** 2
            )

        return jax.lax.map(trace, observed)
    weight, inner = gaussian.weigh(observed)
    square = einsum("nq,bn,np->bqp", gaussian.factors, weight**2, gaussian.factors)
    return jnp.sum(weight, axis=1) - jax.vmap(
        lambda factor, square: jnp.trace(cho_solve((factor, True), square))
    )(inner, square)


def _full_sums(
    gaussian: FullGaussian, x: Array, weight: Array, observed: Array | None, noise_variance: float
) -> Sums:
    size = x.shape[1]
    count = jnp.sum(weight)
    if observed is None:
        spread = count * noise_variance * jnp.eye(size, dtype=x.dtype)
    else:
        x, spread = _regressed(gaussian, x, weight, observed, noise_variance)
    empty = jnp.zeros((size, 0), x.dtype)
    xx = einsum("b,bi,bj->ij", weight, x, x) + spread
    return Sums(count, einsum("b,bi->i", weight, x), xx, empty[0], empty, empty[:0])


def _regressed(
    gaussian: FullGaussian, x: Array, weight: Array, observed: Array, noise_variance: float
) -> tuple[Array, Array]:
    """Deviations with what is missing expected, and the weighted sum of their covariances."""
    covariance = gaussian.covariance()

    def add(spread: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, weight, mask = inputs
        shown = jnp.where(mask[:, None], covariance, 0.0)
        # Column i has what is expected of the number i for one unit more of each observed one.
        slope = jnp.where(
            mask[:, None], cho_solve((gaussian.observed_cholesky(mask), True), shown), 0.0
        )
        rest = covariance - einsum("oi,oj->ij", slope, shown)
        rest += noise_variance * einsum("oi,oj->ij", slope, slope)
        return spread + weight * rest, einsum("oi,o->i", slope, jnp.where(mask, x, 0.0))

    spread, x = jax.lax.scan(add, jnp.zeros_like(covariance), (x, weight, observed))
    return x, spread


def _factor_sums(gaussian: FactorGaussian, x: Array, weight: Array, noise_variance: float) -> Sums:
    precision, factor = gaussian.weigh(None)
    z, inner = gaussian.scores(x, precision, factor), factor[0]
    # Row q has the weights by which the numbers make the score q.
    loading = cho_solve((inner, True), gaussian.factors.T * precision)
    identity = jnp.eye(len(inner), dtype=x.dtype)
    spread = cho_solve((inner, True), identity)
    spread += noise_variance * einsum("qn,pn->qp", loading, loading)
    count = jnp.sum(weight)
    weighted = weight[:, None] * z
    return Sums(
        count,
        einsum("b,bn->n", weight, x),
        einsum("b,bn->n", weight, x**2) + count * noise_variance,
        jnp.sum(weighted, axis=0),
        einsum("bn,bq->nq", x, weighted) + count * noise_variance * loading.T,
        einsum("bq,bp->qp", z, weighted) + count * spread,
    )


def _masked_factor_sums(
    gaussian: FactorGaussian, x: Array, weight: Array, observed: Array, noise_variance: float
) -> Sums:
    precision, inner = gaussian.weigh(observed)
    z = gaussian.scores(x, precision, inner)
    factors, num_factors = gaussian.factors, gaussian.factors.shape[1]
    expected = jnp.where(observed, x, einsum("nq,bq->bn", factors, z))
    identity = jnp.eye(num_factors, dtype=x.dtype)
    covariance = jax.vmap(lambda factor: cho_solve((factor, True), identity))(inner)
    # The noise of what is observed goes on to the scores, and from them to what is missing.
    square = einsum("nq,bn,np->bqp", factors, precision**2, factors)
    noisy = einsum("bqr,brs,bsp->bqp", covariance, square, covariance)
    spread = covariance + noise_variance * noisy
    shown, hidden = (jnp.where(mask, weight[:, None], 0.0) for mask in (observed, ~observed))
    of_hidden = einsum("bn,bqp->nqp", hidden, spread)
    of_shown = einsum("bn,bqp->nqp", shown, covariance) / gaussian.noise[:, None, None]
    xx = einsum("b,bn->n", weight, expected**2)
    xx += einsum("nq,nqp,np->n", factors, of_hidden, factors)
    xx += jnp.sum(hidden, axis=0) * gaussian.noise + noise_variance * jnp.sum(shown, axis=0)
    weighted = weight[:, None] * z
    xz = einsum("bn,bq->nq", expected, weighted) + einsum("nqp,nq->np", of_hidden, factors)
    xz += noise_variance * einsum("nqp,nq->np", of_shown, factors)
    zz = einsum("bq,bp->qp", z, weighted) + einsum("b,bqp->qp", weight, spread)
    x_sum = einsum("b,bn->n", weight, expected)
    return Sums(jnp.sum(weight), x_sum, xx, jnp.sum(weighted, axis=0), xz, zz)
