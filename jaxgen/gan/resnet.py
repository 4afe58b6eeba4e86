"""Residual generators and critics, for images of any size, aspect ratio and channel count.

They are called as the modules of `jaxgen.gan.models` are.

Source:
    Gulrajani et al. 2017, "Improved training of Wasserstein GANs", appendix, for the blocks;
    Miyato et al. 2018, "Spectral normalization for generative adversarial networks", appendix B,
    for their arrangement.
"""

import math
from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.gan.layers import (
    Norm,
    ProjectionHead,
    apply_layer,
    check_label,
    image_shape,
    latent_with_label,
    map_sizes,
    normalize,
)
from jaxgen.nn import Conv, average_pool, upsample_nearest
from jaxgen.types import Array

# Glorot uniform; He's gain of sqrt(2) in the residual branches, which are followed by ReLU.
_RESIDUAL_INIT = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
_INIT = nn.initializers.glorot_uniform()


class _Block(nn.Module):
    """A residual block of two 3x3 convolutions: what the blocks of both networks share."""

    features: int
    norm: Norm
    spectral: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    def _conv(self, x: Array, kernel: int, *, train: bool) -> Array:
        init = _INIT if kernel == 1 else _RESIDUAL_INIT
        layer = Conv(self.features, kernel, dtype=self.dtype, kernel_init=init)
        return apply_layer(layer, x, spectral=self.spectral, train=train)

    def _activate(self, x: Array, *, train: bool) -> Array:
        x = normalize(self.norm, x, train=train, axis_name=self.axis_name, dtype=self.dtype)
        return nn.relu(x)


class _UpBlock(_Block):
    """Doubles a map and crops it to `size`."""

    size: tuple[int, int] = (0, 0)

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        # A 1x1 convolution of a small map, then enlarged, equals that of the large one.
        shortcut = self._enlarged(self._conv(x, 1, train=train))
        h = self._enlarged(self._activate(x, train=train))
        h = self._conv(h, 3, train=train)
        h = self._conv(self._activate(h, train=train), 3, train=train)
        return h + shortcut

    def _enlarged(self, x: Array) -> Array:
        return upsample_nearest(x)[:, : self.size[0], : self.size[1]]


class _DownBlock(_Block):
    """Halves a map, rounding up, by average pooling; the first block starts with a convolution."""

    is_first: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        # Pooling commutes with a 1x1 convolution, and comes first since it leaves less to do.
        shortcut = self._conv(average_pool(x), 1, train=train)
        h = x if self.is_first else self._activate(x, train=train)
        h = self._conv(h, 3, train=train)
        h = self._conv(self._activate(h, train=train), 3, train=train)
        return average_pool(h) + shortcut


class _PlainBlock(_Block):
    """Keeps a map of `features` channels as large as it is."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        h = self._conv(self._activate(x, train=train), 3, train=train)
        return x + self._conv(self._activate(h, train=train), 3, train=train)


class ResNetGenerator(nn.Module):
    """Residual blocks, each doubling the map by nearest upsampling, `[B, D] -> [B, H, W, C]`.

    For 32x32 images these are the three blocks of Miyato et al. 2018, table 4; other sizes have as
    many as `map_sizes` has halvings, and maps are cropped where a size is odd.

    Attributes:
        shape: `(H, W, C)`, of any size.
        width: channels of every map.
        num_plain_blocks: further blocks after each, which keep the size of the map.
        num_classes: number of labels, or None for a model without.
        label_dim: length of the label embedding that is appended to z.
        norm: 'batch', 'layer' or 'none', before each ReLU.
        axis_name: mapped axis of the devices over which batch statistics are averaged, or None.
        dtype: of the computation; parameters and results are float32.
    """

    shape: Sequence[int]
    width: int = 128
    num_plain_blocks: int = 0
    num_classes: int | None = None
    label_dim: int = 16
    norm: Norm = "batch"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, label: Array | None = None, *, train: bool) -> Array:
        """Returns images `[B, H, W, C]` in [-1, 1], float32."""
        height, width, image_channels = image_shape(self.shape)
        sizes = map_sizes((height, width))
        smallest = (*sizes[-1], self.width)
        x = latent_with_label(z, label, num_classes=self.num_classes, label_dim=self.label_dim)
        x = nn.Dense(math.prod(smallest), dtype=self.dtype, kernel_init=_INIT)(x)
        x = x.reshape(len(z), *smallest)
        for size in sizes[-2::-1]:
            block = _UpBlock(
                self.width, self.norm, axis_name=self.axis_name, dtype=self.dtype, size=size
            )
            x = block(x, train=train)
            for _ in range(self.num_plain_blocks):
                plain = _PlainBlock(
                    self.width, self.norm, axis_name=self.axis_name, dtype=self.dtype
                )
                x = plain(x, train=train)
        x = normalize(self.norm, x, train=train, axis_name=self.axis_name, dtype=self.dtype)
        x = Conv(image_channels, 3, dtype=self.dtype, kernel_init=_INIT)(nn.relu(x))
        return jnp.tanh(x.astype(jnp.float32))


class ResNetCritic(nn.Module):
    """Residual blocks with average pooling, then a sum over the last map, `[B, H, W, C] -> [B]`.

    For 32x32 images these are the blocks of Miyato et al. 2018, table 4: two that halve and two
    that do not. Other sizes have one halving less than `map_sizes`. The features of the projection
    are the ReLU of the last map summed over its pixels.

    Attributes:
        width: channels of every map.
        num_plain_blocks: further blocks after each that halves the map, which keep its size.
        num_classes: number of labels, or None for a model without; labels enter by projection.
        norm: 'none', 'layer' or 'batch', before each ReLU but that of the first block and the last.
        spectral: whether every kernel has its largest singular value divided out.
        axis_name: mapped axis of the devices over which batch statistics are averaged, or None.
        dtype: of the computation; parameters and results are float32.
    """

    width: int = 128
    num_plain_blocks: int = 0
    num_classes: int | None = None
    norm: Norm = "none"
    spectral: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, label: Array | None = None, *, train: bool) -> Array:
        """Returns logits `[B]` of images ``x [B, H, W, C]``; high means real."""
        chex.assert_rank(x, 4)
        check_label(label, self.num_classes, len(x))
        settings = (self.width, self.norm, self.spectral, self.axis_name, self.dtype)
        num_down = len(map_sizes(x.shape[1:3])) - 2
        for stage in range(num_down):
            x = _DownBlock(*settings, is_first=stage == 0)(x, train=train)
            for _ in range(self.num_plain_blocks):
                x = _PlainBlock(*settings)(x, train=train)
        for _ in range(2):
            x = _PlainBlock(*settings)(x, train=train)
        h = jnp.sum(at_least_float32(nn.relu(x)), axis=(1, 2))
        head = ProjectionHead(self.num_classes, self.spectral, kernel_init=_INIT)
        return head(h, label, train=train)
