"""A transformer over the pixels of an image, one after the other in any order."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.autoregressive.causal import Site
from jaxgen.nn import dropout
from jaxgen.types import Array

_WIDENING = 4


class PixelTransformer(nn.Module):
    """Attention of each pixel to those before it; the first sees a start token alone.

    The sequence is that of the pixels shifted by one. Every pixel is told its place and the place
    that it follows, so that the order may be any.

    Attributes:
        places: row and column of each pixel in the image, in the order of the sequence, a tuple of
            pairs.
        features: of a token; a multiple of the heads.
        num_layers: blocks.
        num_heads: of attention.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; norms, softmax and parameters are float32.

    Source:
        Parmar et al. 2018, "Image transformer", section 3; the blocks with norms before: Radford et
        al. 2019, "Language models are unsupervised multitask learners", section 2.3.
    """

    places: tuple[tuple[int, int], ...]
    features: int = 128
    num_layers: int = 4
    num_heads: int = 4
    dropout_rate: float = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Makes the layers."""
        height, width = (max(side) + 1 for side in zip(*self.places, strict=True))
        normal = nn.initializers.normal(0.02)
        self.in_rows = self.param("in_rows", normal, (height, self.features))
        self.in_columns = self.param("in_columns", normal, (width, self.features))
        self.start = self.param("start", normal, (self.features,))
        self.embed = nn.Dense(self.features, dtype=self.dtype)
        self.told = nn.Dense(self.features, use_bias=False, dtype=self.dtype)
        self.blocks = [
            _Block(self.num_heads, self.dropout_rate, self.dtype) for _ in range(self.num_layers)
        ]
        self.last_norm = nn.LayerNorm(dtype=jnp.float32)

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
        batch, height, width, channels = x.shape
        rows_at, columns_at = (np.array(side) for side in zip(*self.places, strict=True))
        place = self.in_rows[rows_at] + self.in_columns[columns_at]
        index = None
        tokens = x.reshape(batch, height * width, channels)
        if site is None:
            before = jnp.concatenate([self._start(batch), self.embed(tokens[:, :-1])], axis=1)
        else:
            index = site.row * site.size[1] + (0 if site.column is None else site.column)
            last = jax.lax.dynamic_slice_in_dim(tokens, jnp.maximum(index - 1, 0), 1, axis=1)
            before = jnp.where(index == 0, self._start(batch), self.embed(last))
            place = jax.lax.dynamic_slice_in_dim(place, index, 1, axis=0)
        h = before + place.astype(self.dtype)[None]
        if condition is not None:
            h += self.told(condition)[:, None]
        for number, block in enumerate(self.blocks):
            h = block(h, index, height * width, condition, dropout_keys, number)
            if number == self.num_layers // 2:
                self.sow("intermediates", "features", h)
        h = self.last_norm(h).astype(self.dtype)
        return h.reshape(batch, *((height, width) if site is None else (1, 1)), -1)

    def _start(self, batch: int) -> Array:
        token = self.start.astype(self.dtype)[None, None]
        return jnp.broadcast_to(token, (batch, 1, self.features))


class _Block(nn.Module):
    """Causal attention and a network of each token, with norms before them."""

    num_heads: int
    dropout_rate: float
    dtype: Any

    @nn.compact
    def __call__(
        self,
        h: Array,
        index: Array | None,
        length: int,
        condition: Array | None,
        dropout_keys: Array | None,
        number: int,
    ) -> Array:
        features = h.shape[-1]
        normed = nn.LayerNorm(dtype=jnp.float32)(h).astype(self.dtype)
        y = _CausalAttention(self.num_heads, self.dtype)(normed, index, length)
        h += dropout(dropout_keys, y, rate=self.dropout_rate, layer=2 * number)
        normed = nn.LayerNorm(dtype=jnp.float32)(h).astype(self.dtype)
        y = nn.gelu(nn.Dense(_WIDENING * features, dtype=self.dtype)(normed))
        if condition is not None:
            y += nn.Dense(y.shape[-1], use_bias=False, dtype=self.dtype)(condition)[:, None]
        y = nn.Dense(features, dtype=self.dtype)(y)
        return h + dropout(dropout_keys, y, rate=self.dropout_rate, layer=2 * number + 1)


class _CausalAttention(nn.Module):
    """Attention to the tokens up to the own one: of all, or of one with the others in the cache."""

    num_heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, index: Array | None, length: int) -> Array:
        batch, num, features = x.shape
        shape = (batch, num, self.num_heads, features // self.num_heads)
        q, k, v = (nn.Dense(features, dtype=self.dtype, name=n)(x).reshape(shape) for n in "qkv")
        if index is None:
            visible = jnp.tril(jnp.ones((num, num), bool))
        else:
            whole = (batch, length, *shape[2:])
            caches = [
                self.variable("cache", name, lambda: jnp.zeros(whole, self.dtype))
                for name in ("keys", "values")
            ]
            for cache, new in zip(caches, (k, v), strict=True):
                cache.value = jax.lax.dynamic_update_slice_in_dim(cache.value, new, index, axis=1)
            k, v = (cache.value for cache in caches)
            visible = (jnp.arange(length) <= index)[None]
        logits = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32)
        logits = jnp.where(visible[None, None], logits * shape[-1] ** -0.5, -jnp.inf)
        weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
        y = jnp.einsum("bhts,bshd->bthd", weights, v).reshape(batch, num, features)
        return nn.Dense(features, dtype=self.dtype, name="out")(y)
