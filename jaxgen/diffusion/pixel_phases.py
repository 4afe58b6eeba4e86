"""Features that tell a network where a noisy pixel lies between the values that pixels have."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.types import Array


class PixelPhases(nn.Module):
    """A network that sees sines and cosines of its input beside it, of one and of two pixel steps.

    Where there is little noise, all that is to be known is which of the pixel values is nearest: a
    smooth network of the pixel alone does not find it, and one in half precision cannot.

    Attributes:
        network: ``(x, log_snr, condition, *, dropout_keys) -> y``, of as many channels as its
            input; the first of them are kept.
        levels: number of pixel values, which lie evenly in [-1, 1].
        is_smooth: whether derivatives hold the phases fixed. Of an estimate that guides a sampler
            they would be nearly all of the derivative, and noise; its values are the same.

    Source:
        Kingma et al. 2021, "Variational diffusion models", appendix on Fourier features.
    """

    network: nn.Module
    levels: int
    is_smooth: bool = False

    def __call__(
        self,
        x: Array,
        log_snr: Array,
        condition: Array | None = None,
        *,
        dropout_keys: Array | None = None,
    ) -> Array:
        """Returns float32 `[B, H, W, C]` of `x [B, H, W, C]`, `log_snr [B]`, `condition [B, F]`."""
        phase = math.pi * (self.levels - 1) * x
        waves = [wave(phase * share) for share in (1.0, 0.5) for wave in (jnp.sin, jnp.cos)]
        if self.is_smooth:
            waves = [jax.lax.stop_gradient(wave) for wave in waves]
        network: Any = self.network
        y = network(
            jnp.concatenate([x, *waves], axis=-1), log_snr, condition, dropout_keys=dropout_keys
        )
        return y[..., : x.shape[-1]]
