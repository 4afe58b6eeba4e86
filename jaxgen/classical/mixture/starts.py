"""Where EM begins: means by k-means++, and one covariance for all of what they leave."""

import functools

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32, check_key
from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.mixture.density import KINDS, Kind, Mixture
from jaxgen.classical.products import einsum
from jaxgen.types import Array, Key

_NUM_ITERATIONS = 4  # Of the subspace iteration: EM goes on from there.


def start(
    key: Key,
    x: Array,
    *,
    kind: Kind,
    num_components: int,
    num_factors: int = 0,
    min_variance: Array | float = 0.0,
) -> Mixture:
    """Makes the mixture that EM begins with, of all examples.

    The means are examples, each drawn in proportion to its squared distance from those before. The
    covariance is that of the distances of all examples from the nearest of them, the same for each
    component, so that the first E step shares the examples out softly.

    Args:
        key: random key.
        x: data `[N, n]`, of any real type.
        kind: of the covariances.
        num_components: K, 1 to N.
        num_factors: q of ``"ppca"`` and ``"factor_analysis"``, 1 to n - 1; 0 for others.
        min_variance: floor of the variances.

    Returns:
        The mixture.

    Raises:
        ValueError: if an argument is out of its range.

    Source:
        Arthur & Vassilvitskii 2007, "k-means++: the advantages of careful seeding", section 2.2.
    """
    chex.assert_rank(x, 2)
    _check(kind, num_components, num_factors, *x.shape)
    return _start(key, x, min_variance, kind, num_components, num_factors)


@functools.partial(jax.jit, static_argnames=("kind", "num_components", "num_factors"))
def _start(
    key: Key,
    x: Array,
    min_variance: Array | float,
    kind: Kind,
    num_components: int,
    num_factors: int,
) -> Mixture:
    check_key(key)
    num, size = x.shape
    x = at_least_float32(x)
    mean = jnp.mean(x, axis=0, keepdims=True)
    x = x - mean
    centre_key, factor_key = jax.random.split(key)
    centres, nearest = _spread_out(centre_key, x, num_components)
    rest = x - centres[nearest]
    variance = jnp.mean(rest**2)
    # With as many components as examples nothing is left to tell the variance by.
    variance = jnp.where(variance > 0.0, variance, jnp.mean(x**2) / num)
    variance = jnp.maximum(variance, jnp.maximum(min_variance, jnp.finfo(x.dtype).tiny))
    logits = jnp.zeros(num_components, x.dtype)
    means = centres + mean
    if kind in ("full", "tied"):
        num_matrices = 1 if kind == "tied" else num_components
        identity = jnp.eye(size, dtype=x.dtype)
        cholesky = jnp.broadcast_to(jnp.sqrt(variance) * identity[None], (num_matrices, size, size))
        return Mixture(logits, FullGaussian(means, cholesky), kind)
    factors, noise = jnp.zeros((size, 0), x.dtype), variance
    if num_factors:
        factors, noise = _leading_factors(factor_key, rest, num_factors, variance)
    factors = jnp.broadcast_to(factors[None], (num_components, size, num_factors))
    noises = jnp.broadcast_to(noise, (num_components, size))
    return Mixture(logits, FactorGaussian(means, factors, noises), kind)


def variance_floor(x: Array, share: float, noise_variance: float = 0.0) -> Array:
    """A floor of variances as a share of those of the data.

    Args:
        x: data `[N, n]`.
        share: of the mean variance of a number.
        noise_variance: of noise that the model has and the data lack.

    Returns:
        A scalar in units of the data squared; the share itself where all data are equal.
    """
    mean = jnp.mean(jnp.var(at_least_float32(x), axis=0)) + noise_variance
    return share * jnp.where(mean > 0.0, mean, 1.0)


def _check(kind: str, num_components: int, num_factors: int, num: int, size: int) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind: {kind}, expected one of {', '.join(KINDS)}")
    if num < 1:
        raise ValueError("x: 0 examples, expected at least 1")
    if not 1 <= num_components <= num:
        raise ValueError(
            f"num_components: {num_components}, expected 1 to the number of examples, {num}"
        )
    has_factors = kind in ("ppca", "factor_analysis")
    if has_factors and not 1 <= num_factors < size:
        raise ValueError(f"num_factors: {num_factors}, expected 1 to {size - 1} for {size} numbers")
    if not has_factors and num_factors:
        raise ValueError(f"num_factors: {num_factors}, expected 0 for {kind} covariances")


def _spread_out(key: Key, x: Array, num: int) -> tuple[Array, Array]:
    """Centres `[num, n]` among centred examples, and the number of the nearest of each, `[N]`."""
    square = jnp.sum(x**2, axis=1)

    def distance(centre: Array) -> Array:
        product = einsum("bn,n->b", x, centre)
        return jnp.maximum(square - 2.0 * product + jnp.sum(centre**2), 0.0)

    def add(
        carry: tuple[Array, Array], inputs: tuple[Key, Array]
    ) -> tuple[tuple[Array, Array], Array]:
        closest, nearest = carry
        key, k = inputs
        centre = x[jax.random.categorical(key, jnp.log(closest))]
        own = distance(centre)
        nearest = jnp.where(own < closest, k, nearest)
        return (jnp.minimum(own, closest), nearest), centre

    first_key, key = jax.random.split(key)
    first = x[jax.random.randint(first_key, (), 0, len(x))]
    carry = distance(first), jnp.zeros(len(x), jnp.int32)
    inputs = jax.random.split(key, num - 1), jnp.arange(1, num, dtype=jnp.int32)
    (_, nearest), others = jax.lax.scan(add, carry, inputs)
    return jnp.concatenate([first[None], others]), nearest


def _leading_factors(key: Key, rest: Array, num: int, variance: Array) -> tuple[Array, Array]:
    """Loadings `[n, num]` along which deviations vary most, and the noise of what they leave.

    `variance` is that of all numbers, above 0 also where there are no deviations.
    """
    size = rest.shape[1]

    def turn(_: int, basis: Array) -> Array:
        product = einsum("bn,bq->nq", rest, einsum("bn,nq->bq", rest, basis))
        # A little of the old directions keeps those without variance from becoming 0 / 0.
        return jnp.linalg.qr(product / (len(rest) * variance) + 1e-6 * basis)[0]

    basis = jnp.linalg.qr(jax.random.normal(key, (size, num), rest.dtype))[0]
    basis = jax.lax.fori_loop(0, _NUM_ITERATIONS, turn, basis)
    variances = jnp.mean(einsum("bn,nq->bq", rest, basis) ** 2, axis=0)
    noise = (size * variance - jnp.sum(variances)) / (size - num)
    noise = jnp.maximum(noise, 1e-6 * variance)
    # Loadings of 0 would stay so: each keeps a tenth of the noise.
    loadings = jnp.sqrt(jnp.maximum(variances - noise, 0.1 * noise))
    return basis * loadings[None], noise
