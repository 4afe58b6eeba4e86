"""Encoders and decoders of images of any size and number of channels."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.nn import Conv, ConvTranspose, dropout
from jaxgen.types import Array


class MLPEncoder(nn.Module):
    """Fully connected features of an image or a vector, `[B, ...] -> [B, F]`.

    Attributes:
        hidden_sizes: width of each layer.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    hidden_sizes: Sequence[int] = (400,)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, dropout_keys: Array | None = None) -> Array:
        """Returns features `[B, F]` of ``x [B, ...]`` in [-1, 1]."""
        x = x.reshape(len(x), -1)
        for layer, size in enumerate(self.hidden_sizes):
            x = nn.relu(nn.Dense(size, dtype=self.dtype)(x))
            x = dropout(dropout_keys, x, rate=self.dropout_rate, layer=layer)
        return x


class MLPDecoder(nn.Module):
    """Fully connected decoder, `[B, D] -> [B, *shape, num_outputs]`.

    Attributes:
        shape: of one example, such as `(H, W, C)`.
        num_outputs: outputs per value of the example; see `Likelihood`.
        hidden_sizes: width of each layer.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    shape: Sequence[int]
    num_outputs: int
    hidden_sizes: Sequence[int] = (400,)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, *, dropout_keys: Array | None = None) -> Array:
        """Returns raw likelihood parameters of ``z [B, D]``."""
        for layer, size in enumerate(self.hidden_sizes):
            z = nn.relu(nn.Dense(size, dtype=self.dtype)(z))
            z = dropout(dropout_keys, z, rate=self.dropout_rate, layer=layer)
        outputs = nn.Dense(math.prod(self.shape) * self.num_outputs, dtype=self.dtype)(z)
        return outputs.reshape(len(z), *self.shape, self.num_outputs)


class ConvEncoder(nn.Module):
    """Strided convolutions, each halving the image (rounding up), `[B, H, W, C] -> [B, F]`.

    Attributes:
        channels: of each convolution.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    channels: Sequence[int] = (32, 64)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, dropout_keys: Array | None = None) -> Array:
        """Returns features `[B, F]` of ``x [B, H, W, C]`` in [-1, 1]."""
        for layer, channels in enumerate(self.channels):
            x = nn.relu(Conv(channels, (4, 4), strides=(2, 2), dtype=self.dtype)(x))
            x = dropout(dropout_keys, x, rate=self.dropout_rate, layer=layer)
        return x.reshape(len(x), -1)


class ConvDecoder(nn.Module):
    """Transposed convolutions, each doubling the image, `[B, D] -> [B, H, W, C, num_outputs]`.

    The result is cropped to the shape of the image.

    Attributes:
        shape: `(H, W, C)` of the image.
        num_outputs: outputs per pixel and channel; see `Likelihood`.
        channels: of the feature maps, from the smallest to the largest map.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.
    """

    shape: Sequence[int]
    num_outputs: int
    channels: Sequence[int] = (64, 32)
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, *, dropout_keys: Array | None = None) -> Array:
        """Returns raw likelihood parameters of ``z [B, D]``."""
        height, width, image_channels = self.shape
        factor = 2 ** len(self.channels)
        smallest = (math.ceil(height / factor), math.ceil(width / factor), self.channels[0])
        x = nn.relu(nn.Dense(math.prod(smallest), dtype=self.dtype)(z))
        x = x.reshape(len(z), *smallest)
        for layer, channels in enumerate(self.channels[1:]):
            x = nn.relu(ConvTranspose(channels, (4, 4), strides=(2, 2), dtype=self.dtype)(x))
            x = dropout(dropout_keys, x, rate=self.dropout_rate, layer=layer)
        last = image_channels * self.num_outputs
        x = ConvTranspose(last, (4, 4), strides=(2, 2), dtype=self.dtype)(x)
        return x[:, :height, :width].reshape(len(z), *self.shape, self.num_outputs)
