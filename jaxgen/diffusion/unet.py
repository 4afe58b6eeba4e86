"""The U-Net: a network from noisy images to predictions, of any size and number of channels."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.diffusion.attention import SelfAttention
from jaxgen.diffusion.embedding import Embedding
from jaxgen.diffusion.trees import add_leaves
from jaxgen.nn import Conv, GroupNorm, add_bias, conv_transpose, dropout, space_to_depth
from jaxgen.types import Array

_ZEROS = nn.initializers.zeros_init()


class UNet(nn.Module):
    """Residual blocks down to smaller images and up again, with connections at every size.

    Images whose sides do not halve evenly are continued at their right and lower edges, and cropped
    again. A fresh network predicts zeros. The smallest map is sown as the intermediate `features`.

    Attributes:
        channels: of each level, from the image's own size, halved from level to level.
        num_blocks: residual blocks of a level, on either side.
        attention_levels: levels whose blocks are followed by attention, from 0; there is always
            some in the middle.
        num_heads: of attention; divides the channels of its levels.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; norms, softmax and parameters are float32.

    Source:
        Ho et al. 2020, "Denoising diffusion probabilistic models", appendix B; Dhariwal & Nichol
        2021, "Diffusion models beat GANs on image synthesis", section 3 (adaptive group
        normalization).
    """

    channels: Sequence[int] = (64, 128)
    num_blocks: int = 2
    attention_levels: Sequence[int] = ()
    num_heads: int = 1
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        log_snr: Array,
        condition: Array | None = None,
        *,
        dropout_keys: Array | None = None,
    ) -> Array:
        """Returns float32 `[B, H, W, C]` of `x [B, H, W, C]`, `log_snr [B]`, `condition [B, F]`."""
        height, width, num = x.shape[1:]
        embedding = Embedding(4 * self.channels[0], self.dtype)(log_snr, condition)
        blocks = iter(range(4 * len(self.channels) * self.num_blocks + 2))

        def block(features: int, *inputs: Array) -> Array:
            layer = _Block(features, next(blocks), self.dropout_rate, self.dtype)
            return layer(inputs, embedding, dropout_keys)

        def attention(x: Array, level: int) -> Array:
            return self._attention(x) if level in self.attention_levels else x

        h = Conv(self.channels[0], 3, dtype=self.dtype)(_pad(x, 2 ** (len(self.channels) - 1)))
        kept: list[list[Array]] = []
        for level, features in enumerate(self.channels):
            if level:
                h = Conv(features, 1, dtype=self.dtype)(space_to_depth(h))
            kept.append([])
            for _ in range(self.num_blocks):
                h = attention(block(features, h), level)
                kept[-1].append(h)
        h = block(self.channels[-1], h)
        h = block(self.channels[-1], self._attention(h))
        self.sow("intermediates", "features", h)
        for level, features in reversed(list(enumerate(self.channels))):
            for _ in range(self.num_blocks):
                h = attention(block(features, h, kept[level].pop()), level)
            if level:
                h = _Upsample(self.channels[level - 1], self.dtype)(h)
        h = GroupNorm(self.dtype, is_activated=True)(h)
        h = Conv(num, 3, kernel_init=_ZEROS, dtype=self.dtype)(h)
        return at_least_float32(h[:, :height, :width])

    def _attention(self, x: Array) -> Array:
        h = GroupNorm(dtype=self.dtype)(x).reshape(len(x), -1, x.shape[-1])
        layer = SelfAttention(self.num_heads, kernel_init=_ZEROS, dtype=self.dtype)
        return x + layer(h).reshape(x.shape)


class _Block(nn.Module):
    """Two convolutions with what the embedding says between them, and a way past them.

    Of several inputs each has a norm and a convolution of its own and the results are added, which
    is the convolution of all their channels without copying them together.
    """

    features: int
    number: int
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(
        self, inputs: tuple[Array, ...], embedding: Array, dropout_keys: Array | None
    ) -> Array:
        is_same = len(inputs) == 1 and inputs[0].shape[-1] == self.features
        hidden, past = [], []
        for i, x in enumerate(inputs):
            normed = GroupNorm(self.dtype, is_activated=True)(x)
            hidden.append(Conv(self.features, 3, use_bias=i == 0, dtype=self.dtype)(normed))
            shortcut = Conv(self.features, 1, use_bias=i == 0, dtype=self.dtype)
            past.append(x if is_same else shortcut(x))
        told = nn.Dense(2 * self.features, kernel_init=_ZEROS, dtype=self.dtype)(embedding)
        scale, shift = jnp.split(told, 2, axis=-1)
        h = GroupNorm(self.dtype, is_activated=True)(add_leaves(hidden), scale, shift)
        h = dropout(dropout_keys, h, rate=self.dropout_rate, layer=self.number)
        return add_leaves(past) + Conv(self.features, 3, kernel_init=_ZEROS, dtype=self.dtype)(h)


class _Upsample(nn.Module):
    """A 3x3 convolution of the image twice as large, whose pixels are repeated, without making it.

    Repeating pixels and the convolution together are the adjoint of one 4x4 convolution of stride
    2, which takes four products for a pixel in place of nine.
    """

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        flipped = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
        shifts = [((i, 1 - i), (j, 1 - j), (0, 0), (0, 0)) for i in (0, 1) for j in (0, 1)]
        wide = add_leaves([jnp.pad(flipped, shift) for shift in shifts]).astype(self.dtype)
        y = conv_transpose(x.astype(self.dtype), wide, stride=2)
        return add_bias(y, bias.astype(self.dtype))


def _pad(x: Array, multiple: int) -> Array:
    """Continues the right and lower edges until both sides are multiples of a number."""
    ends = [(0, -size % multiple) for size in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *ends, (0, 0)), mode="edge")
