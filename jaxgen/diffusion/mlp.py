"""A network from noisy vectors to predictions."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.diffusion.embedding import Embedding
from jaxgen.nn import dropout
from jaxgen.types import Array

_ZEROS = nn.initializers.zeros_init()


class MLP(nn.Module):
    """Residual layers of equal width that the log-SNR and the condition scale and shift.

    A fresh network predicts zeros.

    Attributes:
        features: of a layer.
        num_layers: residual layers.
        dropout_rate: share of features dropped where `dropout_keys` are given, in [0, 1).
        dtype: of the computation; parameters are float32.

    Source:
        Of the residual layers He et al. 2016, "Identity mappings in deep residual networks",
        section 3; of scale and shift Perez et al. 2018, "FiLM: visual reasoning with a general
        conditioning layer", section 2.
    """

    features: int = 128
    num_layers: int = 3
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
        """Returns float32 `[B, D]` of `x [B, D]`, `log_snr [B]`, `condition [B, F]`."""
        embedding = Embedding(self.features, self.dtype)(log_snr, condition)
        h = nn.Dense(self.features, dtype=self.dtype)(x)
        for layer in range(self.num_layers):
            told = nn.Dense(2 * self.features, dtype=self.dtype)(embedding)
            scale, shift = jnp.split(told, 2, axis=-1)
            y = nn.silu(nn.Dense(self.features, dtype=self.dtype)(h) * (1.0 + scale) + shift)
            y = dropout(dropout_keys, y, rate=self.dropout_rate, layer=layer)
            h += nn.Dense(self.features, dtype=self.dtype)(y)
        y = nn.Dense(x.shape[-1], kernel_init=_ZEROS, dtype=self.dtype)(nn.silu(h))
        return at_least_float32(y)
