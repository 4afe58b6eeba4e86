"""The E step of mixtures: responsibilities, and the sums that the next parameters are made of.

Examples are taken block by block, so that a large data set costs no memory. Noise that the model
has and the data lack (uniform noise in a pixel's bin, variance 1/12) is integrated out.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.protocol import LOG_2_PI, check_vectors
from jaxgen.classical.mixture.density import Mixture
from jaxgen.classical.mixture.expected_sums import Sums, component_sums, observed_trace
from jaxgen.classical.products import einsum
from jaxgen.types import Array

_BLOCK = 512  # Examples whose numbers stay in a core's cache.


class _Block(NamedTuple):
    """Some examples: numbers `[b, n]`, sample weights `[b]`, masks `[b, n]` or None."""

    x: Array
    weight: Array
    observed: Array | None


_ExpectBlock = Callable[[_Block], tuple[Sums, Array]]


def expect(
    mixture: Mixture,
    x: Array,
    *,
    weight: Array | None = None,
    observed: Array | None = None,
    noise_variance: float = 0.0,
) -> tuple[Sums, Array]:
    """Takes the E step.

    Args:
        mixture: K components over n numbers.
        x: data `[N, n]`, of any real type.
        weight: of each example, `[N]`, at least 0; None for 1 each.
        observed: true where a number is known, `[N, n]`; None where all are.
        noise_variance: v of independent noise u in each number.

    Returns:
        The sums, and the log-density of each example (of what is observed of it), `[N]` in nats;
        with noise the bound ``ln sum_k pi_k exp E_u ln N_k(x + u)`` of ``E_u ln p(x + u)``, whose
        responsibilities do not depend on u.

    Raises:
        ValueError: if there is no example.

    Source:
        Dempster et al. 1977, "Maximum likelihood from incomplete data via the EM algorithm",
        section 2; for factors and missing numbers Ghahramani & Hinton 1996, "The EM algorithm for
        mixtures of factor analyzers", and Ghahramani & Jordan 1994, "Supervised learning from
        incomplete data via an EM approach".
    """
    num = len(x)
    if num < 1:
        raise ValueError("x: 0 examples, expected at least 1")
    check_vectors(x, mixture.components.mean.shape[1], observed)
    if observed is not None:
        chex.assert_equal_shape([x, observed])
    given = jnp.ones(num) if weight is None else at_least_float32(weight)
    chex.assert_shape(given, (num,))
    size = min(_BLOCK, num)
    block = _Block(x, given, observed)
    padding = -num % size
    padded = jax.tree.map(lambda a: jnp.pad(a, [(0, padding)] + [(0, 0)] * (a.ndim - 1)), block)
    blocks = jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), padded)
    gaussian = mixture.components
    if isinstance(gaussian, FactorGaussian) and not gaussian.factors.size and observed is None:
        run = _by_products(mixture, gaussian, noise_variance)
    else:
        run = _by_components(mixture, noise_variance)

    def expect_block(block: _Block) -> tuple[Sums, Array]:
        return run(block._replace(x=at_least_float32(block.x)))

    def add(sums: Sums, block: _Block) -> tuple[Sums, Array]:
        more, log_prob = expect_block(block)
        return jax.tree.map(jnp.add, sums, more), log_prob

    like, _ = jax.eval_shape(expect_block, jax.tree.map(lambda a: a[0], blocks))
    zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
    sums, log_prob = jax.lax.scan(add, zero, blocks)
    return sums, log_prob.reshape(-1)[:num]


def _assign(joint: Array, weight: Array) -> tuple[Array, Array]:
    """Log-densities `[b]` and weighted responsibilities `[K, b]` of ``ln pi_k N_k``, `[K, b]`."""
    log_prob = jax.nn.logsumexp(joint, axis=0)
    return log_prob, jnp.exp(joint - log_prob[None]) * weight[None]


def _by_components(mixture: Mixture, noise_variance: float) -> _ExpectBlock:
    """One component after the other."""
    if noise_variance:
        traces = mixture.over_components(lambda gaussian: jnp.sum(gaussian.precision()))

    def run(block: _Block) -> tuple[Sums, Array]:
        x, observed = block.x, block.observed
        joint = mixture.joint_log_prob(x, observed).T
        if noise_variance and observed is None:
            joint -= 0.5 * noise_variance * traces[:, None]
        elif noise_variance and observed is not None:
            joint -= (
                0.5
                * noise_variance
                * mixture.over_components(functools.partial(observed_trace, observed=observed))
            )
        log_prob, weights = _assign(joint, block.weight)
        sums = mixture.over_components(
            lambda gaussian, weight: component_sums(gaussian, x, weight, observed, noise_variance),
            weights,
        )
        return sums, log_prob

    return run


def _by_products(mixture: Mixture, gaussian: FactorGaussian, noise_variance: float) -> _ExpectBlock:
    """All diagonal components at once, by two matrix products about the mean of the mixture.

    ``sum_i (x_i - m_i)^2 / v_i`` is linear in the pair (x^2, x). Rounding is that of x^2 / v about
    the overall mean, some 1e-7 of it: less than the floor of the variances leaves to be seen.
    """
    centre = mixture.expectation()
    mean, precision = gaussian.mean - centre[None], 1.0 / gaussian.noise
    constant = jnp.log(gaussian.noise) + LOG_2_PI + (mean**2 + noise_variance) * precision
    constant = jax.nn.log_softmax(mixture.logits) - 0.5 * jnp.sum(constant, axis=1)
    coefficients = jnp.concatenate([-0.5 * precision, mean * precision], axis=1)

    def run(block: _Block) -> tuple[Sums, Array]:
        x = block.x - centre[None]
        pair = jnp.concatenate([x**2, x], axis=1)
        joint = einsum("ki,bi->kb", coefficients, pair) + constant[:, None]
        log_prob, weights = _assign(joint, block.weight)
        xx, x = jnp.split(einsum("kb,bi->ki", weights, pair), 2, axis=1)
        count = jnp.sum(weights, axis=1)
        total = count[:, None]
        xx += total * (mean**2 + noise_variance) - 2.0 * mean * x
        empty = jnp.zeros((*mean.shape, 0), mean.dtype)
        return Sums(count, x - total * mean, xx, empty[:, 0], empty, empty[:, :0]), log_prob

    return run
