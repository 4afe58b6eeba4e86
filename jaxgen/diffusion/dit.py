"""The diffusion transformer: patches of noisy images as tokens, of any size and channels."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxgen.arrays import at_least_float32
from jaxgen.diffusion.attention import SelfAttention
from jaxgen.diffusion.embedding import Embedding
from jaxgen.nn import depth_to_space, dropout, space_to_depth
from jaxgen.types import Array

_ZEROS = nn.initializers.zeros_init()
_WIDENING = 4


class DiT(nn.Module):
    """Transformer blocks whose norms the log-SNR and the condition scale, shift and gate.

    Images whose sides are no multiple of the patch are continued at their right and lower edges,
    and cropped again. A fresh network predicts zeros, and its blocks are the identity. The tokens
    after each block are sown as the intermediate `features`.

    Attributes:
        features: of a token; a multiple of 4 and of the heads.
        num_layers: blocks.
        num_heads: of attention.
        patch_size: side of a patch, in pixels.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; norms, softmax and parameters are float32.

    Source:
        Peebles & Xie 2023, "Scalable diffusion models with transformers", section 3.2 (adaLN-Zero).
    """

    features: int = 128
    num_layers: int = 6
    num_heads: int = 4
    patch_size: int = 2
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
        height, width = x.shape[1:3]
        ends = [(0, -size % self.patch_size) for size in (height, width)]
        patches = space_to_depth(jnp.pad(x, ((0, 0), *ends, (0, 0)), mode="edge"), self.patch_size)
        shape = patches.shape
        h = nn.Dense(self.features, dtype=self.dtype)(patches.reshape(shape[0], -1, shape[-1]))
        h += jnp.asarray(_places(shape[1], shape[2], self.features), h.dtype)[None]
        embedding = Embedding(self.features, self.dtype)(log_snr, condition)

        def step(block: _Block, h: Array, layer: Array) -> tuple[Array, None]:
            return block(h, embedding, dropout_keys, layer), None

        axes: Any = {"params": 0, "intermediates": 0}
        scan = nn.scan(step, variable_axes=axes, split_rngs={"params": True})
        block = _Block(self.num_heads, self.dropout_rate, self.dtype)
        h, _ = scan(block, h, jnp.arange(self.num_layers))
        shift, scale = _told(embedding, 2, self.features, self.dtype)
        h = _norm(h, self.dtype) * (1.0 + scale) + shift
        h = nn.Dense(shape[-1], kernel_init=_ZEROS, dtype=self.dtype)(h)
        y = depth_to_space(h.reshape(shape), self.patch_size)
        return at_least_float32(y[:, :height, :width])


class _Block(nn.Module):
    """Attention and a network of each token, both gated by what the embedding says."""

    num_heads: int
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(
        self, h: Array, embedding: Array, dropout_keys: Array | None, layer: Array
    ) -> Array:
        features = h.shape[-1]
        shift, scale, gate, *of_mlp = _told(embedding, 6, features, self.dtype)
        attended = SelfAttention(self.num_heads, dtype=self.dtype)(
            _norm(h, self.dtype) * (1.0 + scale) + shift
        )
        h += gate * attended
        shift, scale, gate = of_mlp
        y = _norm(h, self.dtype) * (1.0 + scale) + shift
        y = nn.gelu(nn.Dense(_WIDENING * features, dtype=self.dtype)(y))
        y = dropout(dropout_keys, y, rate=self.dropout_rate, layer=layer)
        h += gate * nn.Dense(features, dtype=self.dtype)(y)
        self.sow("intermediates", "features", h)
        return h


def _told(embedding: Array, num: int, features: int, dtype: Any) -> list[Array]:
    """Rows `[B, 1, F]` that the embedding gives, zeros at first."""
    told = nn.Dense(num * features, kernel_init=_ZEROS, dtype=dtype)(embedding)
    return jnp.split(told[:, None], num, axis=-1)


def _norm(h: Array, dtype: Any) -> Array:
    """Layer normalization without parameters, in float32."""
    return nn.LayerNorm(use_bias=False, use_scale=False, dtype=jnp.float32)(h).astype(dtype)


def _places(height: int, width: int, features: int) -> np.ndarray:
    """Sines and cosines of row and column, `[height * width, features]`."""
    frequencies = 1e4 ** -np.linspace(0.0, 1.0, features // 4, endpoint=False)
    rows, columns = np.indices((height, width)).reshape(2, -1, 1) * frequencies
    parts = [np.sin(rows), np.cos(rows), np.sin(columns), np.cos(columns)]
    return np.concatenate(parts, axis=-1)
