"""EM of a mixture as an `Algorithm`: a step is an iteration over all data, or over a batch."""

import jax
import jax.numpy as jnp
from flax import struct

from jaxgen.classical.mixture.density import Kind, Mixture
from jaxgen.classical.mixture.em import em_step
from jaxgen.classical.mixture.expectation import expect
from jaxgen.classical.mixture.starts import start, variance_floor
from jaxgen.classical.mixture.sufficient_statistics import Statistics, average
from jaxgen.classical.vectors import evaluator, noise_variance, sampler, to_vectors
from jaxgen.pixels import bits_per_dim
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics


@struct.dataclass
class MixtureState:
    """A mixture on its way.

    Attributes:
        step: number of EM iterations behind it.
        params: the mixture.
        min_variance: floor of the covariances' eigenvalues, in units of the data.
        statistics: of the batches so far, or None where each step sees all data.
    """

    step: Array
    params: Mixture
    min_variance: Array
    statistics: Statistics | None


def mixture_algorithm(
    shape: tuple[int, ...],
    *,
    levels: int | None,
    kind: Kind,
    num_components: int,
    num_factors: int = 0,
    min_variance: float = 1e-4,
    forgetting: float | None = None,
    num_importance_samples: int = 0,
) -> Algorithm:
    """A mixture of Gaussians of images or vectors, fitted by EM from a start by k-means++.

    Args:
        shape: of an example.
        levels: number of pixel values, or None for vectors.
        kind: of the covariances.
        num_components: K, 1 to the number of examples of a batch.
        num_factors: q of ``"ppca"`` and ``"factor_analysis"``; 0 for others.
        min_variance: floor of the covariances' eigenvalues, as a share of the mean variance of the
            first batch.
        forgetting: None where a batch is all data. With batches, the exponent a in (0.5, 1] of the
            weight ``(t + 2)^-a`` that step t gives its own statistics.
        num_importance_samples: K of the bound ``iw<K>`` of `evaluate`, for images; 0 for none.

    Returns:
        The algorithm. The loss of a step is that of the parameters that it begins with, and never
        rises where each step sees all data: the mean of ``-ln p(x)``, of pixels of the bound of
        `expect` with their noise integrated out. `num_reseeded` counts components that had no
        example and began anew.

    Raises:
        ValueError: if `min_variance` or `forgetting` is out of its range.

    Source:
        Cappe & Moulines 2009, "On-line expectation-maximization algorithm for latent data models",
        section 2.2, of the batches.
    """
    if not min_variance > 0.0:
        raise ValueError(f"min_variance: {min_variance}, expected above 0")
    if forgetting is not None and not 0.5 < forgetting <= 1.0:
        raise ValueError(f"forgetting: {forgetting}, expected in (0.5, 1]")
    noise = noise_variance(levels)

    def init(key: Key, batch: Batch) -> MixtureState:
        x = to_vectors(batch["x"], levels)
        floor = variance_floor(x, min_variance, noise)
        mixture = start(
            key,
            x,
            kind=kind,
            num_components=num_components,
            num_factors=num_factors,
            min_variance=floor,
        )
        statistics = None
        if forgetting is not None:
            statistics = average(mixture, expect(mixture, x, noise_variance=noise)[0])
        return MixtureState(jnp.zeros((), jnp.int32), mixture, floor, statistics)

    def step(
        state: MixtureState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[MixtureState, Metrics]:
        del key
        x = to_vectors(batch["x"], levels)
        size = 1.0 if forgetting is None else (state.step + 2.0) ** -forgetting
        result = em_step(
            state.params,
            x,
            min_variance=state.min_variance,
            noise_variance=noise,
            old=state.statistics,
            step_size=size,
            axis_name=axis_name,
        )
        loss = -jnp.mean(result.log_prob)
        if axis_name is not None:
            loss = jax.lax.pmean(loss, axis_name)
        metrics = {
            "loss": loss,
            "bits_per_dim": bits_per_dim(loss, x.shape[1]),
            "num_reseeded": result.num_reseeded.astype(jnp.float32),
        }
        kept = None if forgetting is None else result.statistics
        return MixtureState(state.step + 1, result.mixture, state.min_variance, kept), metrics

    evaluate = evaluator(levels, num_importance_samples)
    return Algorithm(init, step, sampler(shape, levels), evaluate)
