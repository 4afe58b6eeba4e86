"""Attention between the places of an image, or between the tokens of a sequence."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.types import Array


class SelfAttention(nn.Module):
    """Attention of all tokens to all: ``softmax(q k^T / sqrt(d)) v``, and a linear map of it.

    Attributes:
        num_heads: parts of the features that attend by themselves; divides their number.
        kernel_init: of the last map; zeros make a fresh residual branch pass nothing.
        dtype: of the products; the softmax is float32.

    Source:
        Vaswani et al. 2017, "Attention is all you need", section 3.2.
    """

    num_heads: int = 1
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Returns `[B, T, F]` of `x [B, T, F]`."""
        features = x.shape[-1]
        q, k, v = (nn.Dense(features, dtype=self.dtype, name=name)(x) for name in "qkv")
        y = _attend(q, k, v) if self.num_heads == 1 else self._by_heads(q, k, v)
        return nn.Dense(features, kernel_init=self.kernel_init, dtype=self.dtype, name="out")(y)

    def _by_heads(self, q: Array, k: Array, v: Array) -> Array:
        batch, num, features = q.shape
        shape = (batch, num, self.num_heads, features // self.num_heads)
        q, k, v = (x.reshape(shape) for x in (q, k, v))
        return jax.nn.dot_product_attention(q, k, v).reshape(batch, num, features)


def _attend(q: Array, k: Array, v: Array) -> Array:
    """One head: without an axis for heads there is nothing to transpose."""
    logits = jnp.einsum("btf,bsf->bts", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits * q.shape[-1] ** -0.5, axis=-1)
    return jnp.einsum("bts,bsf->btf", weights.astype(v.dtype), v)
