"""Images as the vectors that Gaussians know, and back: what the algorithms of this family share.

A density of pixels lives on [0, levels): a pixel stands in the middle of its bin, and the uniform
noise that fills the bin, of variance 1/12, is integrated out where that has a closed form.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from jaxgen.arrays import at_least_float32, example_keys
from jaxgen.importance import draw_keys, log_mean_weight
from jaxgen.pixels import bits_per_dim, dequantize, pixel_values
from jaxgen.types import Array, Batch, Key, Metrics

PIXEL_NOISE = 1.0 / 12.0
"""Variance of uniform noise in a pixel's bin."""


class VectorDensity(Protocol):
    """A density over vectors `[n]` that can be sampled."""

    def log_prob(self, x: Array, /) -> Array:
        """Log-density of ``x [B, n]``, `[B]` in nats."""
        ...

    def sample(self, key: Key, num: int, /) -> Array:
        """Samples `[num, n]` by one key or keys `[num]`."""
        ...


@struct.dataclass
class DensityState:
    """A fitted density.

    Attributes:
        step: number of steps behind it.
        params: the density.
    """

    step: Array
    params: Any


def to_vectors(x: Array, levels: int | None) -> Array:
    """Makes vectors of data.

    Args:
        x: pixels 0 to levels - 1, `[B, ...]`, or vectors `[B, n]`.
        levels: number of pixel values, or None for vectors.

    Returns:
        `[B, n]`: pixels in the middle of their bins, NaN for what is no pixel; vectors as they are.
    """
    if levels is None:
        return at_least_float32(x)
    return (pixel_values(x, levels) + 0.5).reshape(len(x), -1)


def from_vectors(x: Array, shape: tuple[int, ...], levels: int | None) -> Array:
    """Makes data of vectors: pixels are those in whose bin a number lies, or the nearest.

    Args:
        x: `[..., n]`.
        shape: of an example.
        levels: number of pixel values, or None for vectors.

    Returns:
        uint8 `[..., *shape]`, or float32 vectors.
    """
    x = x.reshape(*x.shape[:-1], *shape)
    if levels is None:
        return x
    return jnp.clip(jnp.floor(x), 0.0, levels - 1.0).astype(jnp.uint8)


def noise_variance(levels: int | None) -> float:
    """Variance of the noise that fills a pixel's bin; 0 for vectors.

    Args:
        levels: number of pixel values, or None for vectors.

    Returns:
        1/12 or 0.
    """
    return 0.0 if levels is None else PIXEL_NOISE


def sampler(shape: tuple[int, ...], levels: int | None) -> Callable[..., Array]:
    """Makes the function that samples from a fitted density.

    Args:
        shape: of an example.
        levels: number of pixel values, or None for vectors.

    Returns:
        ``(state, key, num, label=None) -> x``, uint8 images or float32 vectors.
    """

    def sample(state: DensityState, key: Key, num: int, label: Array | None = None) -> Array:
        if label is not None:
            raise ValueError("label: given, expected None, since this model is not conditional")
        return from_vectors(state.params.sample(key, num), shape, levels)

    return sample


def evaluator(
    levels: int | None, num_importance_samples: int = 0
) -> Callable[[DensityState, Batch, Key], Metrics]:
    """Makes the function that evaluates a fitted density.

    Args:
        levels: number of pixel values, or None for vectors.
        num_importance_samples: K of the bound ``iw<K>`` for images; 0 for none.

    Returns:
        ``(state, batch, key) -> metrics``, `[B]` each, in nats and bits per dimension:
        `log_likelihood` of vectors; of images `dequantized`, the density with one draw of uniform
        noise, and maybe `iw<K>`, the logarithm of its mean over K draws, with its standard error.
    """

    def evaluate(state: DensityState, batch: Batch, key: Key) -> Metrics:
        x = batch["x"]
        if levels is None:
            return _in_nats_and_bits("log_likelihood", state.params.log_prob(x), x)
        keys = example_keys(key, len(x))

        def log_prob(keys: Array) -> Array:
            y = dequantize(keys, x, levels)
            return state.params.log_prob(y.reshape(len(x), -1))

        first = log_prob(draw_keys(keys, len(x), 1)[0])
        metrics = _in_nats_and_bits("dequantized", first, x)
        if num_importance_samples:
            draws = draw_keys(keys, len(x), num_importance_samples)
            estimate = log_mean_weight(jax.lax.map(log_prob, draws))
            name = f"iw{num_importance_samples}"
            metrics |= _in_nats_and_bits(name, estimate.log_likelihood, x)
            metrics[f"{name}_standard_error"] = estimate.standard_error
        return metrics

    return evaluate


def _in_nats_and_bits(name: str, log_prob: Array, x: Array) -> Metrics:
    return {name: log_prob, f"{name}_bits_per_dim": bits_per_dim(-log_prob, x[0].size)}
