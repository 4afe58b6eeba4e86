"""PixelCNN: residual blocks of convolutions over what comes before, with their blind spot."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.autoregressive.causal import CausalConv, Site
from jaxgen.nn import dropout
from jaxgen.types import Array


class PixelCNN(nn.Module):
    """A stack of convolutions, each of the rows above and of its own row up to its place.

    Windows one row higher reach no further to the right than the window's half, so that pixels to
    the upper right are never seen, however deep the stack: the blind spot.

    Attributes:
        features: channels.
        num_layers: residual blocks.
        kernel_size: side of a window, odd.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.

    Source:
        van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.5.
    """

    features: int = 64
    num_layers: int = 5
    kernel_size: int = 3
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        reach = self.kernel_size // 2
        self.first = _Masked(self.features, reach + 1, is_first=True, dtype=self.dtype)
        self.blocks = [
            _Block(self.features, reach, self.dropout_rate, self.dtype)
            for _ in range(self.num_layers)
        ]
        self.last = nn.Dense(self.features, dtype=self.dtype)

    def row(self, x: Array, site: Site | None, condition: Array | None) -> tuple[Array, ...]:
        """What is computed of a whole row at once: nothing here."""
        return ()

    def pixel(
        self,
        x: Array,
        rows: tuple[Array, ...],
        site: Site | None,
        condition: Array | None,
        dropout_keys: Array | None = None,
    ) -> Array:
        """Returns the context `[B, H, W, F]` of `x [B, H, W, C]`, or that of a site."""
        h = self.first(x, site)
        for number, block in enumerate(self.blocks):
            h = block(h, site, condition, dropout_keys, number)
            if number == self.num_layers // 2:
                self.sow("intermediates", "features", h)
        return nn.relu(self.last(nn.relu(h)))


class _Masked(nn.Module):
    """A window in two: the rows above, and the own row to the left, with its place or without."""

    features: int
    reach: int
    is_first: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, site: Site | None) -> Array:
        settings: dict[str, Any] = {"reads_image": self.is_first, "dtype": self.dtype}
        above = CausalConv(self.features, (-self.reach, -1), (-self.reach, self.reach), **settings)
        last = -1 if self.is_first else 0
        left = CausalConv(self.features, (0, 0), (-self.reach, last), **settings)
        return above(x, site) + left(x, site)


class _Block(nn.Module):
    """A residual block: to half the channels, a window, and back."""

    features: int
    reach: int
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Array,
        site: Site | None,
        condition: Array | None,
        dropout_keys: Array | None,
        number: int,
    ) -> Array:
        h = nn.Dense(self.features // 2, dtype=self.dtype)(nn.relu(x))
        h = _Masked(self.features // 2, self.reach, is_first=False, dtype=self.dtype)(
            nn.relu(h), site
        )
        if condition is not None:
            told = nn.Dense(self.features // 2, use_bias=False, dtype=self.dtype)(condition)
            h += told[:, None, None]
        h = dropout(dropout_keys, h, rate=self.dropout_rate, layer=number)
        return x + nn.Dense(self.features, dtype=self.dtype)(nn.relu(h))
