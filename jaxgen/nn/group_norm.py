"""Group normalization with the parameters and results of `nn.GroupNorm`, with few passes."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.nn.sums import pixel_dot, pixel_sum, repeat_pixel
from jaxgen.types import Array

_MOST_GROUPS = 8
_EPSILON = 1e-6


def _group_mean(sums: Array, num_pixels: int, num_groups: int) -> Array:
    """Means of the groups at every channel, `[B, C]`, of sums over the pixels, `[B, C]`."""
    groups = (sums / num_pixels).reshape(len(sums), num_groups, -1)
    mean = jnp.mean(groups, axis=-1, keepdims=True)
    return jnp.broadcast_to(mean, groups.shape).reshape(sums.shape)


def _statistics(x: Array, num_groups: int) -> tuple[Array, Array, Array]:
    """Mean of each group at every channel, values without it, and their deviation."""
    num = x.shape[1]
    mean = _group_mean(pixel_sum(x), num, num_groups)
    # In two passes: E[x^2] - E[x]^2 loses the variance beside a large mean.
    centred = x - repeat_pixel(mean, num)
    variance = _group_mean(pixel_dot(centred, centred), num, num_groups)
    return mean, centred, jnp.sqrt(variance + _EPSILON)


def _affine(x: Array, scale: Array, shift: Array) -> Array:
    """Multiplies and shifts `[B, N, C]` by rows `[B, C]`."""
    return x * repeat_pixel(scale, x.shape[1]) + repeat_pixel(shift, x.shape[1])


def _scaled(x: Array, mean: Array, deviation: Array, scale: Array, shift: Array) -> Array:
    """``(x - mean) scale / deviation + shift`` of rows.

    The rows end with a division, so that XLA does not compute them anew at each pixel.
    """
    return _affine(x, scale / deviation, (shift * deviation - mean * scale) / deviation)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _normalize(x: Array, scale: Array, shift: Array, num_groups: int) -> Array:
    """Normalizes `[B, N, C]`, then multiplies and shifts it by rows `[B, C]`."""
    mean, _, deviation = _statistics(x, num_groups)
    return _scaled(x, mean, deviation, scale, shift)


@_normalize.defjvp
def _normalize_jvp(
    num_groups: int, primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """Two sums over pixels in either mode; autodiff would take six.

    All factors are rows, so that the sums of the reverse mode are of the cotangent as it comes. Its
    last step is a division, which XLA's CPU compiler does not repeat in all that use the result.
    """
    (x, scale, shift), (x_dot, scale_dot, shift_dot) = primals, tangents
    num = x.shape[1]
    mean, centred, deviation = _statistics(x, num_groups)
    x_dot = x_dot / repeat_pixel(deviation, num)
    mean_dot = _group_mean(pixel_sum(x_dot), num, num_groups)
    stretch = _group_mean(pixel_dot(x_dot, centred), num, num_groups) / jnp.square(deviation)
    y_dot = _affine(x_dot, scale, shift_dot - scale * mean_dot)
    y_dot += centred * repeat_pixel(scale_dot / deviation - scale * stretch, num)
    return _scaled(x, mean, deviation, scale, shift), y_dot


@jax.custom_jvp
def _silu(x: Array) -> Array:
    """As `nn.silu`; a division comes last, as in `_normalize_jvp`."""
    return x / (1.0 + jnp.exp(-x))


@_silu.defjvp
def _silu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (x_dot,) = primals, tangents
    return _silu(x), _silu_slope(x) * x_dot


@jax.checkpoint
def _silu_slope(x: Array) -> Array:
    """The derivative; only its argument is kept for it."""
    share = nn.sigmoid(x)
    return share * (1.0 + x * (1.0 - share))


class GroupNorm(nn.Module):
    """Normalizes groups of channels of each image by their mean and variance over the pixels.

    There are 8 groups, or as many of them as divide the channels. Statistics are float32.

    Attributes:
        dtype: of the result; None keeps that of the argument.
        is_activated: whether `silu` follows.

    Source:
        Wu & He 2018, "Group Normalization", section 3; Dhariwal & Nichol 2021, "Diffusion models
        beat GANs on image synthesis", section 3 (rows of each example).
    """

    dtype: Any = None
    is_activated: bool = False

    @nn.compact
    def __call__(self, x: Array, scale: Array | None = None, shift: Array | None = None) -> Array:
        """Normalizes `[B, ..., C]`, and scales and shifts each channel.

        Args:
            x: features, `[B, ..., C]`.
            scale: by 1 more than which each example is multiplied then, `[B, C]`.
            shift: added to each example then, `[B, C]`.

        Returns:
            Features of the shape of `x`.
        """
        num, wide = x.shape[-1], jnp.promote_types(x.dtype, jnp.float32)
        rows = self.param("scale", nn.initializers.ones_init(), (num,), jnp.float32)[None]
        bias = self.param("bias", nn.initializers.zeros_init(), (num,), jnp.float32)[None]
        if scale is not None:
            rows, bias = rows * (1.0 + scale), bias * (1.0 + scale)
        if shift is not None:
            bias = bias + shift
        rows, bias = (jnp.broadcast_to(row, (len(x), num)).astype(wide) for row in (rows, bias))
        pixels = x.reshape(len(x), -1, num).astype(wide)
        y = _normalize(pixels, rows, bias, math.gcd(num, _MOST_GROUPS))
        y = _silu(y) if self.is_activated else y
        return y.reshape(x.shape).astype(self.dtype or x.dtype)
