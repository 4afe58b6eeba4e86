"""Coupling layers: one part passes, and a network of it gives the parameters of the other."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import sum_event
from jaxgen.flows.bijectors.elementwise import Elementwise
from jaxgen.types import Array


class Coupling(nn.Module):
    """Transforms half of the numbers of a vector, or half of the channels of an image.

    Attributes:
        elementwise: what each number undergoes.
        conditioner: network of the other half; see `conditioners`.
        moves_first: whether it is the first half that is transformed.

    Source:
        Dinh et al. 2015, "NICE: non-linear independent components estimation", section 3.2; Dinh et
        al. 2017, "Density estimation using Real NVP", section 3.4 (channel-wise masks).
    """

    elementwise: Elementwise
    conditioner: Any
    moves_first: bool = False

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, ..., C]`, C at least 2."""
        return self._transform(x, condition, self.elementwise.encode)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, ..., C]`."""
        return self._transform(z, condition, self.elementwise.decode)

    def _transform(self, x: Array, condition: Array | None, function: Any) -> tuple[Array, Array]:
        num = x.shape[-1]
        chex.assert_axis_dimension_gt(x, -1, 1)
        first, second = x[..., : (num + 1) // 2], x[..., (num + 1) // 2 :]
        kept, moved = (second, first) if self.moves_first else (first, second)
        raw = parameters(self.conditioner, self.elementwise, kept, condition, moved.shape[-1])
        moved, log_slope = function(moved, raw)
        parts = (moved, kept) if self.moves_first else (kept, moved)
        return jnp.concatenate(parts, axis=-1), sum_event(log_slope)


class CheckerboardCoupling(nn.Module):
    """Transforms the black or the white fields of an image of any size.

    Attributes:
        elementwise: what each number undergoes.
        conditioner: network of the other fields.
        moves_first: whether the fields are transformed to which the top left one belongs.

    Source:
        Dinh et al. 2017, "Density estimation using Real NVP", section 3.4.
    """

    elementwise: Elementwise
    conditioner: Any
    moves_first: bool = False

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(z, log_det [B])` of `x [B, H, W, C]`."""
        return self._transform(x, condition, self.elementwise.encode)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x, log_det [B])` of `z [B, H, W, C]`."""
        return self._transform(z, condition, self.elementwise.decode)

    def _transform(self, x: Array, condition: Array | None, function: Any) -> tuple[Array, Array]:
        chex.assert_rank(x, 4)
        fields = np.indices(x.shape[1:3]).sum(axis=0) % 2
        is_moved = jnp.asarray((fields == 0) == self.moves_first)[None, :, :, None]
        kept = jnp.where(is_moved, 0.0, x)
        raw = parameters(self.conditioner, self.elementwise, kept, condition, x.shape[-1])
        # Not the fields alone, since a root outside of its range must not spoil a gradient.
        y, log_slope = function(x, raw)
        log_slope = jnp.where(is_moved, log_slope, 0.0)
        return jnp.where(is_moved, y, x), sum_event(log_slope)


def parameters(
    conditioner: Any, elementwise: Elementwise, kept: Array, condition: Array | None, num: int
) -> Array:
    """Asks a network for the parameters of some numbers, in full precision: what the products of a
    GPU or TPU round away by default comes back amplified.

    Args:
        conditioner: the network.
        elementwise: whose parameters.
        kept: what the network sees, `[B, ..., C]`.
        condition: what else it sees.
        num: how many numbers each place has.

    Returns:
        `[B, ..., P, num]`.
    """
    with jax.default_matmul_precision("highest"):
        raw = conditioner(kept, condition, elementwise.num_params * num)
    return raw.reshape(*kept.shape[:-1], elementwise.num_params, num)
