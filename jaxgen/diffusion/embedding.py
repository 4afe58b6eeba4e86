"""What a network is told beside its input: the log-SNR, and a condition."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.types import Array

_NUM_FREQUENCIES = 32
_LOWEST, _HIGHEST = (
    0.02,
    4.0,
)  # Radians per nat: over all levels half a turn, and 0.1 are told apart.

_MOST = 50.0  # Nats, far beyond what float32 data can tell.


def log_snr_features(log_snr: Array) -> Array:
    """Sines and cosines of a log-SNR, which mean the same under every schedule and step count.

    Args:
        log_snr: `[B]`; beyond -50 and 50 no more is told apart.

    Returns:
        float32 `[B, 64]`.

    Source:
        Vaswani et al. 2017, "Attention is all you need", section 3.5, here of the log-SNR as in
        Kingma et al. 2021, "Variational diffusion models", appendix on the networks.
    """
    steps = jnp.linspace(math.log(_LOWEST), math.log(_HIGHEST), _NUM_FREQUENCIES)
    # A process that keeps no signal has the log-SNR -inf, whose sine is NaN.
    levels = jnp.clip(at_least_float32(log_snr), -_MOST, _MOST)
    angles = levels[:, None] * jnp.exp(steps)[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class Embedding(nn.Module):
    """A vector of the log-SNR and of the condition, if there is one.

    A condition of zeros stands for none, as classifier-free guidance needs it.

    Attributes:
        features: of the result.
        dtype: of the computation; parameters are float32.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, log_snr: Array, condition: Array | None) -> Array:
        """Returns `[B, features]` of `log_snr [B]` and `condition [B, F]`."""
        h = nn.Dense(self.features, dtype=self.dtype)(log_snr_features(log_snr))
        h = nn.Dense(self.features, dtype=self.dtype)(nn.silu(h))
        if condition is not None:
            h += nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="condition")(
                condition
            )
        return nn.silu(h)
