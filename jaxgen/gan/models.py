"""Fully connected and DCGAN generators and critics, for examples of any shape.

A generator is `module(z [B, D], label=None, *, train) -> x [B, ...]`, and a critic is
`module(x [B, ...], label=None, *, train) -> logits [B]`. With `train` a module uses and records the
statistics of its batch (batch norm) and the vectors of its power iteration (spectral norm), so
`apply` needs `mutable=["batch_stats"]`. The names of the attributes are the same everywhere, and
`module.clone(axis_name=...)` synchronises batch norm over devices.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import flax.linen as nn
import jax.numpy as jnp

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
from jaxgen.nn import Conv, ConvTranspose
from jaxgen.types import Array

_MAX_GROWTH = 8  # Channels double as maps halve, up to this factor (Radford et al. 2016, figure 1).
_INIT = nn.initializers.normal(0.02)  # Radford et al. 2016, section 4.
_leaky_relu = functools.partial(
    nn.leaky_relu, negative_slope=0.2
)  # Radford et al. 2016, section 4.

Activation = Callable[[Array], Array]


class MLPGenerator(nn.Module):
    """Fully connected generator, `[B, D] -> [B, *shape]`: images through tanh, vectors as they are.

    Attributes:
        shape: of one example, `(H, W, C)` or `(D,)`.
        hidden_sizes: width of each ReLU layer.
        num_classes: number of labels, or None for a model without.
        label_dim: length of the label embedding that is appended to z.
        norm: 'batch', 'layer' or 'none', before each ReLU.
        axis_name: mapped axis of the devices over which batch statistics are averaged, or None.
        dtype: of the computation; parameters and results are float32.
    """

    shape: Sequence[int]
    hidden_sizes: Sequence[int] = (256, 256)
    num_classes: int | None = None
    label_dim: int = 16
    norm: Norm = "none"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, label: Array | None = None, *, train: bool) -> Array:
        """Returns images `[B, H, W, C]` in [-1, 1] or vectors `[B, D]`, float32."""
        if len(self.shape) not in (1, 3):
            raise ValueError(f"shape: {tuple(self.shape)}, expected (H, W, C) or (D,)")
        x = latent_with_label(z, label, num_classes=self.num_classes, label_dim=self.label_dim)
        for size in self.hidden_sizes:
            x = nn.Dense(size, use_bias=self.norm != "batch", dtype=self.dtype)(x)
            x = normalize(self.norm, x, train=train, axis_name=self.axis_name, dtype=self.dtype)
            x = nn.relu(x)
        x = nn.Dense(math.prod(self.shape), dtype=self.dtype)(x).astype(jnp.float32)
        x = x.reshape(len(z), *self.shape)
        return jnp.tanh(x) if len(self.shape) == 3 else x


class MLPCritic(nn.Module):
    """Fully connected critic of images or vectors, `[B, ...] -> [B]`.

    Attributes:
        hidden_sizes: width of each ReLU layer.
        num_classes: number of labels, or None for a model without; labels enter by projection.
        norm: 'none', 'layer' or 'batch', before each ReLU.
        spectral: whether every kernel has its largest singular value divided out.
        axis_name: mapped axis of the devices over which batch statistics are averaged, or None.
        dtype: of the computation; parameters and results are float32.
    """

    hidden_sizes: Sequence[int] = (256, 256)
    num_classes: int | None = None
    norm: Norm = "none"
    spectral: bool = False
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, label: Array | None = None, *, train: bool) -> Array:
        """Returns logits `[B]` of ``x [B, ...]``; high means real."""
        check_label(label, self.num_classes, len(x))
        h = x.reshape(len(x), -1)
        for size in self.hidden_sizes:
            layer = nn.Dense(size, use_bias=self.norm != "batch", dtype=self.dtype)
            h = apply_layer(layer, h, spectral=self.spectral, train=train)
            h = normalize(self.norm, h, train=train, axis_name=self.axis_name, dtype=self.dtype)
            h = nn.relu(h)
        return ProjectionHead(self.num_classes, self.spectral)(h, label, train=train)


def _channels(width: int, num_stages: int) -> list[int]:
    """Channels of the maps from the largest to the smallest."""
    return [width * min(2**stage, _MAX_GROWTH) for stage in range(num_stages)]


class DCGANGenerator(nn.Module):
    """Transposed 4x4 convolutions, each doubling the map, `[B, D] -> [B, H, W, C]` in [-1, 1].

    The number of stages follows from the image size (`map_sizes`); maps are cropped where a size is
    odd.

    Attributes:
        shape: `(H, W, C)`, of any size.
        width: channels of the largest map; they double as maps halve, up to 8 times this.
        num_classes: number of labels, or None for a model without.
        label_dim: length of the label embedding that is appended to z.
        norm: 'batch', 'layer' or 'none', before each activation.
        activation: function after each layer but the last.
        axis_name: mapped axis of the devices over which batch statistics are averaged, or None.
        dtype: of the computation; parameters and results are float32.

    Source:
        Radford et al. 2016, "Unsupervised representation learning with deep convolutional
        generative adversarial networks", section 3 and figure 1.
    """

    shape: Sequence[int]
    width: int = 64
    num_classes: int | None = None
    label_dim: int = 16
    norm: Norm = "batch"
    activation: Activation = nn.relu
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, label: Array | None = None, *, train: bool) -> Array:
        """Returns images `[B, H, W, C]` in [-1, 1], float32."""
        height, width, image_channels = image_shape(self.shape)
        sizes = map_sizes((height, width))
        channels = _channels(self.width, len(sizes) - 1)
        use_bias = self.norm != "batch"  # Batch norm subtracts it.

        def activate(x: Array) -> Array:
            x = normalize(self.norm, x, train=train, axis_name=self.axis_name, dtype=self.dtype)
            return self.activation(x)

        x = latent_with_label(z, label, num_classes=self.num_classes, label_dim=self.label_dim)
        smallest = (*sizes[-1], channels[-1])
        x = nn.Dense(math.prod(smallest), use_bias=use_bias, dtype=self.dtype, kernel_init=_INIT)(x)
        x = activate(x.reshape(len(z), *smallest))
        for features, size in zip(channels[-2::-1], sizes[-2:0:-1], strict=True):
            x = self._doubled(x, features, size, use_bias=use_bias)
            x = activate(x)
        x = self._doubled(x, image_channels, sizes[0], use_bias=True)
        return jnp.tanh(x.astype(jnp.float32))

    def _doubled(self, x: Array, features: int, size: tuple[int, int], *, use_bias: bool) -> Array:
        """Applies a new transposed convolution and crops its result to `size`."""
        layer = ConvTranspose(
            features, (4, 4), (2, 2), use_bias=use_bias, dtype=self.dtype, kernel_init=_INIT
        )
        return layer(x)[:, : size[0], : size[1]]


class DCGANCritic(nn.Module):
    """Strided 4x4 convolutions, each halving the map (rounding up), `[B, H, W, C] -> [B]`.

    The number of stages follows from the image size (`map_sizes`); the features of the projection
    are the flattened last map.

    Attributes:
        width: channels of the largest map; they double as maps halve, up to 8 times this.
        num_classes: number of labels, or None for a model without; labels enter by projection.
        norm: 'none', 'layer' or 'batch', before each activation but the first.
        spectral: whether every kernel has its largest singular value divided out.
        activation: function after each convolution.
        axis_name: mapped axis of the devices over which batch statistics are averaged, or None.
        dtype: of the computation; parameters and results are float32.

    Source:
        Radford et al. 2016, "Unsupervised representation learning with deep convolutional
        generative adversarial networks", section 3.
    """

    width: int = 64
    num_classes: int | None = None
    norm: Norm = "none"
    spectral: bool = False
    activation: Activation = _leaky_relu
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, label: Array | None = None, *, train: bool) -> Array:
        """Returns logits `[B]` of images ``x [B, H, W, C]``; high means real."""
        chex.assert_rank(x, 4)
        check_label(label, self.num_classes, len(x))
        num_stages = len(map_sizes(x.shape[1:3])) - 1
        for stage, features in enumerate(_channels(self.width, num_stages)):
            norm: Norm = self.norm if stage else "none"
            layer = Conv(
                features,
                (4, 4),
                (2, 2),
                use_bias=norm != "batch",
                dtype=self.dtype,
                kernel_init=_INIT,
            )
            x = apply_layer(layer, x, spectral=self.spectral, train=train)
            x = normalize(norm, x, train=train, axis_name=self.axis_name, dtype=self.dtype)
            x = self.activation(x)
        head = ProjectionHead(self.num_classes, self.spectral, kernel_init=_INIT)
        return head(x.reshape(len(x), -1), label, train=train)
