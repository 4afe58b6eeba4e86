"""PixelCNN++: two streams through three scales, with short cuts between the way down and up."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.autoregressive.causal import CausalConv, Site, at_column, upsample
from jaxgen.nn import dropout
from jaxgen.types import Array

_BELOW: tuple[tuple[int, int], tuple[int, int]] = ((-1, 0), (-1, 1))  # Window of the upper stream.
_RIGHT: tuple[tuple[int, int], tuple[int, int]] = ((-1, 0), (-1, 0))  # Of the upper-left stream.


class PixelCNNPlusPlus(nn.Module):
    """Gated residual blocks of a stream of the rows above and one of what is above and left.

    Images of odd sides are taken to half the scale rounded up, and cropped on the way back. Scales
    are changed by strides of 2 down, and by four features a place up.

    Attributes:
        features: channels.
        num_blocks: residual blocks at each scale, on the way down and, one more, on the way up.
        num_scales: each half the one before.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.

    Source:
        Salimans et al. 2017, "PixelCNN++: improving the PixelCNN with discretized logistic mixture
        likelihood and other modifications", sections 2.3 to 2.5.
    """

    features: int = 64
    num_blocks: int = 2
    num_scales: int = 3
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        self.first_above = self._conv((-2, -1), (-1, 1), reads_image=True)
        self.first_row = self._conv((-1, -1), (-1, 1), reads_image=True)
        self.first_left = self._conv((-1, 0), (-1, -1), reads_image=True)
        down, up = (self.num_scales * (self.num_blocks + more) for more in (0, 1))
        self.row_blocks = [self._block(_BELOW, i) for i in range(down + up)]
        self.pixel_blocks = [self._block(_RIGHT, 1000 + i) for i in range(down + up)]
        changes = range(self.num_scales - 1)
        self.row_down = [self._conv(*_BELOW, stride=2) for _ in changes]
        self.pixel_down = [self._conv(*_RIGHT, stride=2) for _ in changes]
        self.row_up = [nn.Dense(4 * self.features, dtype=self.dtype) for _ in changes]
        self.pixel_up = [nn.Dense(4 * self.features, dtype=self.dtype) for _ in changes]

    def _conv(self, rows: tuple[int, int], columns: tuple[int, int], **settings: Any) -> CausalConv:
        return CausalConv(self.features, rows, columns, dtype=self.dtype, **settings)

    def _block(self, window: Any, number: int) -> "_Block":
        rows, columns = window
        return _Block(self.features, rows, columns, self.dropout_rate, number, self.dtype)

    def row(
        self,
        x: Array,
        site: Site | None,
        condition: Array | None,
        dropout_keys: Array | None = None,
    ) -> tuple[Array, ...]:
        """What the upper stream gives to the other, features after each of its blocks."""
        first = self.first_above(x, site)
        return self._run(first, (), x, site, condition, dropout_keys, is_row=True)[1]

    def pixel(
        self,
        x: Array,
        rows: tuple[Array, ...],
        site: Site | None,
        condition: Array | None,
        dropout_keys: Array | None = None,
    ) -> Array:
        """Returns the context `[B, H, W, F]` of `x [B, H, W, C]`, or that of a site."""
        first = self.first_row(x, site) + self.first_left(x, site)
        h, _ = self._run(first, rows, x, site, condition, dropout_keys, is_row=False)
        return nn.elu(h)

    def _run(
        self,
        h: Array,
        rows: tuple[Array, ...],
        x: Array,
        site: Site | None,
        condition: Array | None,
        dropout_keys: Array | None,
        *,
        is_row: bool,
    ) -> tuple[Array, tuple[Array, ...]]:
        """One stream, down and up; the other's features join each block of the second stream."""
        blocks: Sequence[_Block] = self.row_blocks if is_row else self.pixel_blocks
        down, up = (self.row_down, self.row_up) if is_row else (self.pixel_down, self.pixel_up)
        sites = [site]
        sizes = [_size_of(x)]
        for _ in range(self.num_scales - 1):
            sites.append(None if sites[-1] is None else sites[-1].halved())
            sizes.append(sizes[-1].halved())
        outputs: list[Array] = []
        kept, number = [h], 0

        def run_block(h: Array, scale: int, short: Array | None) -> Array:
            nonlocal number
            others = [] if is_row else [at_column(rows[number], sites[scale])]
            others += [] if short is None else [short]
            h = blocks[number](h, others, sites[scale], condition, dropout_keys)
            number += 1
            outputs.append(h)
            return h

        for scale in range(self.num_scales):
            if scale:
                h = down[scale - 1](h, sites[scale - 1])
                kept.append(h)
            for _ in range(self.num_blocks):
                h = run_block(h, scale, None)
                kept.append(h)
        if not is_row:
            self.sow("intermediates", "features", h)
        for scale in reversed(range(self.num_scales)):
            for _ in range(self.num_blocks + 1):
                h = run_block(h, scale, kept.pop())
            if scale:
                finer = sites[scale - 1] or sizes[scale - 1]
                h = upsample(up[scale - 1](h), self.features, sites[scale], finer)
        return h, tuple(outputs)


def _size_of(x: Array) -> Site:
    return Site(jnp.zeros((), jnp.int32), None, (x.shape[1], x.shape[2]))


class _Block(nn.Module):
    """A gated residual block, told of other features and of the condition."""

    features: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    dropout_rate: float
    number: int
    dtype: Any

    @nn.compact
    def __call__(
        self,
        x: Array,
        others: list[Array],
        site: Site | None,
        condition: Array | None,
        dropout_keys: Array | None,
    ) -> Array:
        h = CausalConv(self.features, self.rows, self.columns, dtype=self.dtype)(
            _both_signs(x), site
        )
        for other in others:
            h += nn.Dense(self.features, dtype=self.dtype)(_both_signs(other))
        h = dropout(dropout_keys, _both_signs(h), rate=self.dropout_rate, layer=self.number)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        h = CausalConv(
            2 * self.features, self.rows, self.columns, kernel_init=small, dtype=self.dtype
        )(h, site)
        if condition is not None:
            told = nn.Dense(2 * self.features, use_bias=False, dtype=self.dtype)(condition)
            h += told[:, None, None]
        a, b = jnp.split(h, 2, axis=-1)
        return x + a * nn.sigmoid(b)


def _both_signs(x: Array) -> Array:
    """Exponential linear units of the features and of their negatives."""
    return nn.elu(jnp.concatenate([x, -x], axis=-1))
