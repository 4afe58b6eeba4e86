"""Batch normalization with the parameters of `nn.BatchNorm`, whose sums are fast everywhere."""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.nn.sums import channel_sum, repeat_row
from jaxgen.types import Array

_Results = tuple[Array, Array, Array]


def _mean(x: Array, axis_name: str | None) -> Array:
    """The mean of each column of `[N, C]`, over all devices of the axis."""
    mean = channel_sum(x) / x.shape[0]
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def _statistics(x: Array, axis_name: str | None) -> tuple[Array, Array]:
    """Mean and variance in two passes: E[x^2] - E[x]^2 loses the variance beside a large mean."""
    mean = _mean(x, axis_name)
    return mean, _mean(jnp.square(_centred(x, mean)), axis_name)


def _centred(x: Array, mean: Array) -> Array:
    return x - repeat_row(mean, x.shape[0])


def _affine(x: Array, mean: Array, factor: Array, bias: Array) -> Array:
    rows = x.shape[0]
    return _centred(x, mean) * repeat_row(factor, rows) + repeat_row(bias, rows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _batch_norm(
    x: Array, scale: Array, bias: Array, epsilon: float, axis_name: str | None
) -> _Results:
    """`batch_norm` of `[N, C]`."""
    mean, variance = _statistics(x, axis_name)
    return _affine(x, mean, lax.rsqrt(variance + epsilon) * scale, bias), mean, variance


@_batch_norm.defjvp
def _batch_norm_jvp(
    epsilon: float, axis_name: str | None, primals: _Results, tangents: _Results
) -> tuple[_Results, _Results]:
    """Two sums in either mode; autodiff of the statistics would take five.

    Ioffe & Szegedy 2015, "Batch Normalization", section 3; the statistics have no tangents.
    """
    x, scale, bias = primals
    x_tangent, scale_tangent, bias_tangent = tangents
    repeat = functools.partial(repeat_row, num=x.shape[0])
    mean, variance = _statistics(x, axis_name)
    inverse = lax.rsqrt(variance + epsilon)
    factor = inverse * scale
    standard = _centred(x, mean) * repeat(inverse)
    shift = bias_tangent - factor * _mean(x_tangent, axis_name)
    stretch = scale_tangent - factor * _mean(standard * x_tangent, axis_name)
    tangent = x_tangent * repeat(factor) + standard * repeat(stretch) + repeat(shift)
    results = _affine(x, mean, factor, bias), mean, variance
    return results, (tangent, jnp.zeros_like(mean), jnp.zeros_like(variance))


def batch_norm(
    x: Array, scale: Array, bias: Array, *, epsilon: float = 1e-5, axis_name: str | None = None
) -> tuple[Array, Array, Array]:
    """Normalizes each channel by its mean and variance over the batch and the pixels.

    `y = (x - mean) / sqrt(variance + epsilon) * scale + bias`. The statistics that are returned are
    constants to derivatives.

    Args:
        x: features, `[..., C]`, float32.
        scale: `[C]`.
        bias: `[C]`.
        epsilon: added to the variance.
        axis_name: mapped axis of the devices whose batches count as one, or None.

    Returns:
        y of the shape of `x`, and the mean and the variance, `[C]`.

    Source:
        Ioffe & Szegedy 2015, "Batch Normalization", algorithm 1.
    """
    chex.assert_shape([scale, bias], (x.shape[-1],))
    chex.assert_type([x, scale, bias], jnp.float32)
    rows = x.reshape(-1, x.shape[-1])
    y, mean, variance = _batch_norm(rows, scale, bias, epsilon, axis_name)
    return y.reshape(x.shape), lax.stop_gradient(mean), lax.stop_gradient(variance)


class BatchNorm(nn.Module):
    """Batch normalization with the parameters, statistics and training results of `nn.BatchNorm`.

    The variance is taken in two passes (`use_fast_variance=False`), and the default keeps 0.9 of
    the running averages, where Flax keeps 0.99.

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
        """Normalizes `[..., C]` by this batch, which it records, or else by the averages."""
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
        y, *new = batch_norm(rows, scale, bias, epsilon=self.epsilon, axis_name=axis_name)
        if not self.is_initializing():
            for average, value in zip((mean, variance), new, strict=True):
                average.value = self.momentum * average.value + (1.0 - self.momentum) * value
        return y.reshape(x.shape).astype(self.dtype)
