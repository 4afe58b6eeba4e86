"""One iteration of expectation-maximisation of a mixture."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.classical.mixture.density import Kind, Mixture
from jaxgen.classical.mixture.expectation import expect
from jaxgen.classical.mixture.maximization import maximize
from jaxgen.classical.mixture.reseeding import reseed
from jaxgen.classical.mixture.starts import start, variance_floor
from jaxgen.classical.mixture.sufficient_statistics import Statistics, average, merge
from jaxgen.types import Array, Key


class EMStep(NamedTuple):
    """What an iteration gives.

    Attributes:
        mixture: the new parameters.
        statistics: that they were made of.
        log_prob: of each example under the parameters before the step, `[N]` in nats; with noise
            the bound of `expect`.
        num_reseeded: components that had no example and were moved to the one explained worst.
    """

    mixture: Mixture
    statistics: Statistics
    log_prob: Array
    num_reseeded: Array


def em_step(
    mixture: Mixture,
    x: Array,
    *,
    min_variance: Array | float,
    weight: Array | None = None,
    observed: Array | None = None,
    noise_variance: float = 0.0,
    old: Statistics | None = None,
    step_size: Array | float = 1.0,
    axis_name: str | None = None,
) -> EMStep:
    """Takes one EM iteration: the mean of `log_prob` never falls from one to the next.

    That holds for all examples in every step and covariances above the floor at the start, but for
    a step that reseeds. With batches of the data it is stepwise EM.

    Args:
        mixture: K components over n numbers; `start` makes one.
        x: data `[N, n]`, of any real type.
        min_variance: floor of the covariances' eigenvalues, above 0 in units of the data.
        weight: of each example, `[N]`, at least 0; None for 1 each.
        observed: true where a number is known, `[N, n]`; None where all are.
        noise_variance: of independent noise that the model has and the data lack, such as 1/12 for
            uniform noise in a pixel's bin.
        old: statistics of the batches before, to be merged with those of these; None without.
        step_size: weight of the new ones in that, in (0, 1].
        axis_name: the mapped axis of the devices that hold parts of the data, or None.

    Returns:
        The step. If K = 1 and nothing is missing, a single one gives the full, tied, diagonal or
        spherical Gaussian of greatest likelihood.

    Raises:
        ValueError: if there is no example, or the floor is not above 0.

    Source:
        Dempster et al. 1977, "Maximum likelihood from incomplete data via the EM algorithm",
        section 2; on batches Cappe & Moulines 2009, "On-line expectation-maximization algorithm for
        latent data models", equation 12.
    """
    if isinstance(min_variance, float | int) and not min_variance > 0.0:
        raise ValueError(f"min_variance: {min_variance}, expected above 0")
    return _em_step(
        mixture,
        x,
        min_variance,
        weight,
        observed,
        old,
        step_size,
        noise_variance=noise_variance,
        axis_name=axis_name,
    )


@functools.partial(jax.jit, static_argnames=("noise_variance", "axis_name"))
def _em_step(
    mixture: Mixture,
    x: Array,
    min_variance: Array | float,
    weight: Array | None,
    observed: Array | None,
    old: Statistics | None,
    step_size: Array | float,
    *,
    noise_variance: float,
    axis_name: str | None,
) -> EMStep:
    x = at_least_float32(x)
    sums, log_prob = expect(
        mixture, x, weight=weight, observed=observed, noise_variance=noise_variance
    )
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    statistics = average(mixture, sums, is_complete=observed is None)
    if old is not None:
        statistics = merge(old, statistics, step_size)
    explained = log_prob if weight is None else jnp.where(weight > 0.0, log_prob, jnp.inf)
    known = x if observed is None else jnp.where(observed, x, mixture.expectation())
    statistics, num_reseeded = reseed(statistics, known, explained, axis_name=axis_name)
    new = maximize(mixture.kind, statistics, min_variance=min_variance)
    return EMStep(new, statistics, log_prob, num_reseeded)


def fit(
    key: Key,
    x: Array,
    *,
    kind: Kind,
    num_components: int,
    num_factors: int = 0,
    min_variance: float = 1e-4,
    tolerance: float = 1e-4,
    max_steps: int = 300,
) -> Mixture:
    """Fits a mixture to data in memory, from a start by k-means++ to where it climbs no more.

    Args:
        key: of the start.
        x: data `[N, n]`, of any real type.
        kind: of the covariances.
        num_components: K, 1 to N.
        num_factors: q of ``"ppca"`` and ``"factor_analysis"``; 0 for others.
        min_variance: floor of the covariances' eigenvalues, as a share of the mean variance.
        tolerance: the mean log-density's gain in a step, in nats, at which to stop.
        max_steps: the most steps.

    Returns:
        The mixture.

    Raises:
        ValueError: if a number is out of its range.

    Source:
        Dempster et al. 1977, "Maximum likelihood from incomplete data via the EM algorithm",
        section 2.
    """
    for name, value in (("min_variance", min_variance), ("tolerance", tolerance)):
        if not value >= 0.0:
            raise ValueError(f"{name}: {value}, expected at least 0")
    x = jnp.asarray(at_least_float32(x))
    floor = variance_floor(x, min_variance)
    begin = start(
        key,
        x,
        kind=kind,
        num_components=num_components,
        num_factors=num_factors,
        min_variance=floor,
    )

    def is_climbing(carry: tuple[Array, Mixture, Array, Array]) -> Array:
        step, _, _, gain = carry
        return (step < max_steps) & (gain > tolerance)

    def climb(
        carry: tuple[Array, Mixture, Array, Array],
    ) -> tuple[Array, Mixture, Array, Array]:
        step, mixture, last, _ = carry
        result = em_step(mixture, x, min_variance=floor)
        mean = jnp.mean(result.log_prob)
        # One that reseeds may fall, and goes on; the first has nothing before it.
        gain = jnp.where((result.num_reseeded > 0) | (step == 0), jnp.inf, mean - last)
        return step + 1, result.mixture, mean, gain

    infinity = jnp.asarray(jnp.inf, x.dtype)
    carry = jnp.zeros((), jnp.int32), begin, -infinity, infinity
    fitted: Mixture = jax.lax.while_loop(is_climbing, climb, carry)[1]
    return fitted
