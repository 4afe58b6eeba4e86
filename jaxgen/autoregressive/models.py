"""An autoregressive model: a causal network, a head for the channels, an order of the pixels."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.autoregressive.causal import Site, image_input
from jaxgen.autoregressive.orders import Order
from jaxgen.pixels import pixel_values
from jaxgen.types import Array


class PixelModel(nn.Module):
    """``ln p(x) = sum_i ln p(x_i | x_<i)`` of integer pixels, exact.

    All methods but `__call__` and `context` know images in the arrangement of the order.

    Attributes:
        network: with ``row`` and ``pixel``; see `networks`.
        head: see `heads`.
        levels: number of pixel values, 2 to 256.
        order: of the pixels.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", equations 1 and 2.
    """

    network: Any
    head: Any
    levels: int
    order: Order

    def __call__(
        self, x: Array, condition: Array | None = None, *, dropout_keys: Array | None = None
    ) -> Array:
        """Returns the log-probability `[B]` in nats of `x [B, H, W, C]`; creates all parameters.

        What is no pixel value makes it NaN, so that images on another scale stop a training.
        """
        is_good = jnp.isfinite(pixel_values(x, self.levels)).all(axis=(1, 2, 3))
        arranged = self.order.arrange(x)
        h = self.context(arranged, condition, dropout_keys=dropout_keys)
        return jnp.where(is_good, self.head.log_prob(h, arranged), jnp.nan)

    def context(
        self, x: Array, condition: Array | None = None, *, dropout_keys: Array | None = None
    ) -> Array:
        """Returns what is known of each pixel from those before, `[B, H, W, F]`."""
        inputs = image_input(x, self.levels)
        rows = self.network.row(inputs, None, condition)
        return self.network.pixel(inputs, rows, None, condition, dropout_keys)

    def row(self, x: Array, site: Site, condition: Array | None = None) -> tuple[Array, ...]:
        """Returns what is to be computed of a whole row before its first pixel."""
        rows: tuple[Array, ...] = self.network.row(image_input(x, self.levels), site, condition)
        return rows

    def at(
        self, x: Array, rows: tuple[Array, ...], site: Site, condition: Array | None = None
    ) -> Array:
        """Returns the context of one pixel, `[B, F]`, of an image written up to it."""
        inputs = image_input(x, self.levels)
        return self.network.pixel(inputs, rows, site, condition)[:, 0, 0]

    def draw(self, keys: Array, h: Array) -> Array:
        """Returns pixels `[M, C]` of contexts `[M, F]` by keys `[M]`."""
        return self.head.draw(keys, h)
