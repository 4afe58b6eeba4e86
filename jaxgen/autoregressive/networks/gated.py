"""Gated PixelCNN: a stack of the rows above and one of the own row, without a blind spot."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.autoregressive.causal import CausalConv, Site, at_column
from jaxgen.nn import dropout
from jaxgen.types import Array


class GatedPixelCNN(nn.Module):
    """Two stacks of gated convolutions; the vertical one feeds the horizontal one.

    The vertical stack sees all rows above in a growing triangle that has no blind spot, the
    horizontal one what is to the left in the own row. Each gate is ``tanh(a) sigmoid(b)``, with the
    condition added to both parts in every layer.

    Attributes:
        features: channels of each stack.
        num_layers: gated layers.
        kernel_size: side of a window, odd.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.

    Source:
        van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", sections
        2.2 to 2.4.
    """

    features: int = 64
    num_layers: int = 6
    kernel_size: int = 3
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        reach, wide = self.kernel_size // 2, 2 * self.features
        numbers = range(self.num_layers)
        # The first layers leave out the own row, and the own place: their windows move by one.
        self.vertical = [
            CausalConv(
                wide,
                (-reach - 1, -1) if i == 0 else (-reach, 0),
                (-reach, reach),
                reads_image=i == 0,
                dtype=self.dtype,
            )
            for i in numbers
        ]
        self.horizontal = [
            CausalConv(
                wide,
                (0, 0),
                (-reach - 1, -1) if i == 0 else (-reach, 0),
                reads_image=i == 0,
                dtype=self.dtype,
            )
            for i in numbers
        ]
        self.to_horizontal = [nn.Dense(wide, dtype=self.dtype) for _ in numbers]
        self.told_vertical = [self._told(wide) for _ in numbers]
        self.told_horizontal = [self._told(wide) for _ in numbers]
        self.out = [nn.Dense(self.features, dtype=self.dtype) for _ in numbers]
        self.skip = [nn.Dense(self.features, dtype=self.dtype) for _ in numbers]
        self.last = nn.Dense(self.features, dtype=self.dtype)

    def _told(self, features: int) -> nn.Dense:
        return nn.Dense(features, use_bias=False, dtype=self.dtype)

    def row(self, x: Array, site: Site | None, condition: Array | None) -> tuple[Array, ...]:
        """What the vertical stack gives to the other, `[B, H, W, 2 F]` of each layer."""
        given, v = [], x
        for conv, told, to_horizontal in zip(
            self.vertical, self.told_vertical, self.to_horizontal, strict=True
        ):
            v = conv(v, site)
            given.append(to_horizontal(v))
            v = _gate(_add(v, told, condition))
        return tuple(given)

    def pixel(
        self,
        x: Array,
        rows: tuple[Array, ...],
        site: Site | None,
        condition: Array | None,
        dropout_keys: Array | None = None,
    ) -> Array:
        """Returns the context `[B, H, W, F]` of `x [B, H, W, C]`, or that of a site."""
        h, total = x, jnp.zeros((), self.dtype)
        for i, (conv, told) in enumerate(zip(self.horizontal, self.told_horizontal, strict=True)):
            gated = _gate(_add(conv(h, site) + at_column(rows[i], site), told, condition))
            gated = dropout(dropout_keys, gated, rate=self.dropout_rate, layer=i)
            # The image itself is no summand: it would show a pixel to its own prediction.
            h = self.out[i](gated) + (h if i else 0.0)
            total += self.skip[i](gated)
            if i == self.num_layers // 2:
                self.sow("intermediates", "features", h)
        return nn.relu(self.last(nn.relu(total)))


def _add(x: Array, told: nn.Dense, condition: Array | None) -> Array:
    return x if condition is None else x + told(condition)[:, None, None]


def _gate(x: Array) -> Array:
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * nn.sigmoid(b)
