"""Batch normalization with the parameters of `nn.BatchNorm`, whose sums are fast on every backend."""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.nn.sums import channel_sum
from jaxgen.types import Array

_Residuals = tuple[Array, Array, Array, Array]


def _mean(x: Array, axis_name: str | None) -> Array:
    """The mean of each column of `[N, C]`, over all devices of the axis."""
    mean = channel_sum(x) / len(x)
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def _statistics(x: Array, axis_name: str | None) -> tuple[Array, Array]:
    """Mean and variance in two passes: E[x^2] - E[x]^2 loses the variance of a channel with a large mean."""
    mean = _mean(x, axis_name)
    return mean, _mean(jnp.square(x - mean[None]), axis_name)


def _affine(x: Array, mean: Array, factor: Array, bias: Array) -> Array:
    return (x - mean[None]) * factor[None] + bias[None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _batch_norm(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None
) -> tuple[Array, Array, Array]:
    """`batch_norm` of `[N, C]`."""
    return _batch_norm_forward(x, scale, bias, epsilon, axis_name)[0]


def _batch_norm_forward(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None
) -> tuple[tuple[Array, Array, Array], _Residuals]:
    mean, variance = _statistics(x, axis_name)
    inverse = lax.rsqrt(variance + epsilon)
    y = _affine(x, mean, inverse * scale, bias)
    return (y, mean, variance), (x, mean, inverse, scale)


def _batch_norm_backward(
    epsilon: float, axis_name: str | None, residuals: _Residuals, gradients: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    """Ioffe and Szegedy (2015), section 3; what goes into the statistics has no gradient."""
    x, mean, inverse, scale = residuals
    gradient = gradients[0]
    standard = (x - mean[None]) * inverse[None]
    sums = channel_sum(gradient), channel_sum(gradient * standard)
    bias_mean, scale_mean = (total / len(x) for total in sums)
    if axis_name is not None:
        bias_mean, scale_mean = lax.pmean((bias_mean, scale_mean), axis_name)
    centred = gradient - bias_mean[None] - standard * scale_mean[None]
    return centred * (inverse * scale)[None], sums[1], sums[0]


_batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def batch_norm(
    x: Array, scale: Array, bias: Array, *, epsilon: float = 1e-5, axis_name: str | None = None
) -> tuple[Array, Array, Array]:
    """Normalizes each channel by its mean and variance over the batch and the pixels.

    `y = (x - mean) / sqrt(variance + epsilon) * scale + bias`. Derivatives of y in reverse mode, of any order; the
    statistics that are returned are constants to them. No forward mode.

    Args:
        x: features, `[..., C]`, float32.
        scale: `[C]`.
        bias: `[C]`.
        epsilon: added to the variance.
        axis_name: mapped axis of the devices whose batches count as one, or None.

    Returns:
        y of the shape of `x`, and the mean and the variance, `[C]`.

    Source:
        Ioffe and Szegedy (2015), Batch normalization, algorithm 1.
    """
    chex.assert_shape([scale, bias], (x.shape[-1],))
    chex.assert_type([x, scale, bias], jnp.float32)
    rows = x.reshape(-1, x.shape[-1])
    y, mean, variance = _batch_norm(rows, scale, bias, epsilon, axis_name)
    return y.reshape(x.shape), lax.stop_gradient(mean), lax.stop_gradient(variance)


class BatchNorm(nn.Module):
    """Batch normalization with the parameters and statistics of `nn.BatchNorm`, and its results in training.

    The variance is taken in two passes (`use_fast_variance=False`), and the default keeps 0.9 of the running averages,
    where Flax keeps 0.99.

    Attributes:
        momentum: share of the old value that a running average keeps.
        epsilon: added to the variance.
        axis_name: mapped axis of the devices whose batches count as one, or None.
        dtype: of the result; statistics are float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Normalizes `[..., C]` by the statistics of this batch, which it records, or else by their averages."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones_init(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), shape, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        rows = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
        if not train:
            inverse = lax.rsqrt(variance.value + self.epsilon)
            y = _affine(rows, mean.value, inverse * scale, bias)
            return y.reshape(x.shape).astype(self.dtype)
        axis_name = None if self.is_initializing() else self.axis_name
        y, *new = self.normalize(rows, scale, bias, axis_name)
        if not self.is_initializing():
            for average, value in zip((mean, variance), new, strict=True):
                average.value = self.momentum * average.value + (1.0 - self.momentum) * value
        return y.reshape(x.shape).astype(self.dtype)

    def normalize(
        self, x: Array, scale: Array, bias: Array, axis_name: str | None
    ) -> tuple[Array, Array, Array]:
        """Applies given parameters to `[N, C]`, with fast derivatives in reverse mode."""
        return batch_norm(x, scale, bias, epsilon=self.epsilon, axis_name=axis_name)

    def normalize_plainly(
        self, x: Array, scale: Array, bias: Array, axis_name: str | None
    ) -> tuple[Array, Array, Array]:
        """Applies given parameters to `[N, C]`, with derivatives in all modes."""
        mean, variance = _statistics(x, axis_name)
        return _affine(x, mean, lax.rsqrt(variance + self.epsilon) * scale, bias), mean, variance
