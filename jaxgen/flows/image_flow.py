"""A flow of images with a number of pixel values: noise and a logit come before its bijector."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgen.flows.flow import Flow
from jaxgen.pixels import inverse_logit_transform, logit_transform, pixel_values
from jaxgen.types import Array, Key


class ImageFlow(nn.Module):
    """Probabilities of pixels 0 to levels - 1 by a density of dequantized pixels.

    Noise, logit and bijector each bring their log-density or log-determinant, so that every number
    is in nats of the pixels themselves. They are the same in training and afterwards.

    Attributes:
        flow: density of the logits, `[B, H, W, C]`.
        dequantizer: module ``(key, x) -> (y, log_q [B])``; see `dequantization`.
        levels: number of pixel values, 2 to 256.
    """

    flow: Flow
    dequantizer: Any
    levels: int

    def __call__(self, key: Key, x: Array, condition: Array | None = None) -> Array:
        """Returns the bound `[B]` of one draw of noise; creates every parameter."""
        y, log_q = self.dequantize(key, x, condition)
        return self.log_prob(y, condition) - log_q

    def dequantize(self, key: Key, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `(x + u, ln q(u|x) [B])` of integer pixels by a key or keys `[B]`."""
        return self.dequantizer(key, x, condition)

    def log_prob(self, y: Array, condition: Array | None = None) -> Array:
        """Returns the log-density `[B]` of dequantized pixels, in [0, levels), in nats."""
        logits, log_det = logit_transform(y, levels=self.levels)
        return self.flow.log_prob(logits, condition) + log_det

    def encode(self, x: Array, condition: Array | None = None) -> Array:
        """Returns the latents `[B, D]` of integer pixels, each taken at the middle of its bin."""
        logits, _ = logit_transform(pixel_values(x, self.levels) + 0.5, levels=self.levels)
        return self.flow.encode(logits, condition)[0]

    def decode(self, z: Array, condition: Array | None = None) -> Array:
        """Returns the uint8 images of latents `[B, D]`."""
        y = self.decode_dequantized(z, condition)
        return jnp.clip(jnp.floor(y), 0, self.levels - 1).astype(jnp.uint8)

    def decode_dequantized(self, z: Array, condition: Array | None = None) -> Array:
        """Returns dequantized pixels of latents `[B, D]`, about [0, levels), with gradients."""
        return inverse_logit_transform(self.flow.decode(z, condition)[0], levels=self.levels)[0]

    def log_prior(self, z: Array) -> Array:
        """Returns the log-density `[B]` of latents `[B, D]` in nats."""
        return self.flow.base.log_prob(z)

    def sample(
        self,
        key: Key,
        num: int,
        condition: Array | None = None,
        *,
        temperature: Array | float = 1.0,
    ) -> Array:
        """Returns `num` uint8 images by one key or keys `[num]`; see `Flow.sample`."""
        return self.decode(self.flow.base.sample(key, num, temperature), condition)
