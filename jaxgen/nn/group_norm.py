"""Group normalization with the parameters and results of `nn.GroupNorm`, with fast sums."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxgen.nn.sums import pixel_sum, repeat_pixel
from jaxgen.types import Array

_MOST_GROUPS = 8
_EPSILON = 1e-6


def _group_mean(x: Array, num_groups: int) -> Array:
    """Means of the groups of `[B, N, C]`, at every channel, `[B, C]`."""
    groups = (pixel_sum(x) / x.shape[1]).reshape(len(x), num_groups, -1)
    mean = jnp.mean(groups, axis=-1, keepdims=True)
    return jnp.broadcast_to(mean, groups.shape).reshape(len(x), -1)


def _standardize(x: Array, num_groups: int) -> tuple[Array, Array]:
    """Values of mean 0 and variance 1 in each group, and what they were multiplied by, `[B, C]`."""
    # In two passes: E[x^2] - E[x]^2 loses the variance beside a large mean.
    centred = x - repeat_pixel(_group_mean(x, num_groups), x.shape[1])
    inverse = lax.rsqrt(_group_mean(jnp.square(centred), num_groups) + _EPSILON)
    return centred * repeat_pixel(inverse, x.shape[1]), inverse


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _normalize(x: Array, num_groups: int) -> Array:
    return _standardize(x, num_groups)[0]


@_normalize.defjvp
def _normalize_jvp(
    num_groups: int, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """Two sums in either mode; autodiff of the statistics would take five."""
    (x,), (tangent,) = primals, tangents
    y, inverse = _standardize(x, num_groups)
    shift = repeat_pixel(_group_mean(tangent, num_groups), x.shape[1])
    stretch = repeat_pixel(_group_mean(tangent * y, num_groups), x.shape[1])
    return y, (tangent - shift - y * stretch) * repeat_pixel(inverse, x.shape[1])


class GroupNorm(nn.Module):
    """Normalizes groups of channels of each image by their mean and variance over the pixels.

    There are 8 groups, or as many of them as divide the channels. Statistics are float32.

    Attributes:
        dtype: of the result; None keeps that of the argument.

    Source:
        Wu & He 2018, "Group Normalization", section 3.
    """

    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Normalizes `[B, ..., C]`, and scales and shifts each channel."""
        num = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (num,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (num,), jnp.float32)
        pixels = x.reshape(len(x), -1, num)
        pixels = pixels.astype(jnp.promote_types(x.dtype, jnp.float32))
        y = _normalize(pixels, math.gcd(num, _MOST_GROUPS))
        rows = [
            repeat_pixel(jnp.broadcast_to(row, (len(x), num)), y.shape[1]) for row in (scale, bias)
        ]
        return (y * rows[0] + rows[1]).reshape(x.shape).astype(self.dtype or x.dtype)
