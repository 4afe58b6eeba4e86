"""Dropout whose mask belongs to an example, whatever batch and device it is in."""

import jax
import jax.numpy as jnp

from jaxgen.arrays import sample_by_example
from jaxgen.types import Array, Key


def dropout(keys: Array | None, x: Array, *, rate: float, layer: Array | int) -> Array:
    """Sets each feature to 0 with a probability and divides the others by that of the rest.

    flax's module draws one mask for a batch; here an example's mask comes from its own key, so that
    it depends neither on the batch nor on the number of devices.

    Args:
        keys: of the examples, `[B]`; None outside of training, where nothing is dropped.
        x: features, `[B, ...]`.
        rate: the probability, in [0, 1).
        layer: number of the layer, whose mask differs from those of the others.

    Returns:
        Features of the shape and type of `x`, equal to it in expectation.

    Raises:
        ValueError: if `rate` is outside [0, 1).

    Source:
        Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting",
        section 4, with the scale in training and not after it.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout_rate: {rate}, expected in [0, 1)")
    if keys is None or rate == 0.0:
        return x

    def mask(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, layer), 1.0 - rate, shape)

    keep = sample_by_example(mask, keys, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0)
