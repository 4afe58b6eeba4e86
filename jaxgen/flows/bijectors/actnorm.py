"""Shift and scale of each channel, which start with the mean and the spread of the data."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.nn.sums import channel_sum, repeat_row
from jaxgen.types import Array, Key

_LEAST_STD = 1e-6


class ActNorm(nn.Module):
    """``z = (x + shift) exp(log_scale)`` for each channel, or each number of a vector.

    At the start its latents have mean 0 and variance 1 over the batch that `init` is given, the
    first one of training, whole; a channel of one value keeps its scale. A restored or sampled
    model needs the shapes alone. In front of other layers it standardises the data.

    Source:
        Kingma & Dhariwal 2018, "Glow: generative flow with invertible 1x1 convolutions", section
        3.1.
    """

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, ..., C]`."""
        x = at_least_float32(x)  # Sums of half precision over a batch overflow.
        shift, log_scale = self._parameters(x)
        scale = _like(x, jnp.exp(log_scale))
        return (x + _like(x, shift)) * scale, _log_det(x, log_scale)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, ..., C]`."""
        z = at_least_float32(z)
        shift, log_scale = self._parameters(z)
        scale = _like(z, jnp.exp(-log_scale))
        return z * scale - _like(z, shift), -_log_det(z, log_scale)

    @nn.compact
    def _parameters(self, x: Array) -> tuple[Array, Array]:
        num = x.size // x.shape[-1]

        def shift(key: Key) -> Array:
            return -channel_sum(x) / num

        def log_scale(key: Key) -> Array:
            # Of centred values: a difference of two large squares has no digits left.
            centred = x - _like(x, channel_sum(x) / num)
            std = jnp.sqrt(channel_sum(centred * centred) / num)
            return jnp.where(std > _LEAST_STD, -jnp.log(jnp.maximum(std, _LEAST_STD)), 0.0)

        x = jax.lax.stop_gradient(x)
        return self.param("shift", shift), self.param("log_scale", log_scale)


def _like(x: Array, row: Array) -> Array:
    """A value for each channel, `[C]`, as `[..., C]` of the shape of `x`."""
    return repeat_row(row, x.size // x.shape[-1]).reshape(x.shape)


def _log_det(x: Array, log_scale: Array) -> Array:
    num_places = x[0].size // x.shape[-1]
    return jnp.broadcast_to(num_places * jnp.sum(log_scale), (len(x),))
