"""A Gaussian fitted in closed form as an `Algorithm`: one step sees all data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.classical.gaussian.protocol import Gaussian
from jaxgen.classical.vectors import (
    DensityState,
    evaluator,
    noise_variance,
    sampler,
    to_vectors,
)
from jaxgen.pixels import bits_per_dim
from jaxgen.types import Algorithm, Array, Batch, Key, Metrics


def gaussian_algorithm(
    fit: Callable[[Array], Gaussian],
    shape: tuple[int, ...],
    *,
    levels: int | None,
    num_importance_samples: int = 0,
) -> Algorithm:
    """A Gaussian of images or vectors.

    Args:
        fit: ``x [N, n] -> Gaussian``, such as `fit` or `fit_ppca` with the noise of the pixels,
            `vectors.noise_variance`.
        shape: of an example.
        levels: number of pixel values, or None for vectors.
        num_importance_samples: K of the bound ``iw<K>`` of `evaluate`, for images; 0 for none.

    Returns:
        The algorithm. A step fits the examples of its batch, which is to be all of them; its loss
        is the mean of ``-E_u ln p(x + u)``, exact, over the uniform noise u of the pixels.

    Source:
        Theis et al. 2016, "A note on the evaluation of generative models", section 3.1, of the
        noise.
    """

    def init(key: Key, batch: Batch) -> DensityState:
        del key
        like = jax.eval_shape(fit, jax.eval_shape(lambda x: to_vectors(x, levels), batch["x"]))
        zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
        return DensityState(jnp.zeros((), jnp.int32), zero)

    def step(
        state: DensityState, batch: Batch, key: Key, axis_name: str | None = None
    ) -> tuple[DensityState, Metrics]:
        del key
        x = to_vectors(batch["x"], levels)
        if axis_name is not None:
            x = jax.lax.all_gather(x, axis_name, tiled=True)
        gaussian = fit(x)
        noise = 0.5 * noise_variance(levels) * jnp.sum(gaussian.precision())
        loss = noise - jnp.mean(gaussian.log_prob(x))
        metrics = {"loss": loss, "bits_per_dim": bits_per_dim(loss, x.shape[1])}
        return DensityState(state.step + 1, gaussian), metrics

    evaluate = evaluator(levels, num_importance_samples)
    return Algorithm(init, step, sampler(shape, levels), evaluate)
