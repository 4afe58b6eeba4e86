"""A flow: a bijector and a density of its latents, which make a density of the data."""

from typing import Any

import flax.linen as nn

from jaxgen.types import Array, Key


class Flow(nn.Module):
    """A density by the change of variables: ``ln p(x) = ln p(z) + log_det`` of ``z = encode(x)``.

    A condition, such as a label in one-hot form, `[B, F]`, belongs to every method or to none.

    Attributes:
        bijector: see `bijectors.Bijector`; its latents are vectors `[B, D]`.
        base: density of the latents; see `bases`.

    Source:
        Rezende & Mohamed 2015, "Variational inference with normalizing flows", equation 5.
    """

    bijector: Any
    base: Any

    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Returns `log_prob`; creates every parameter, from the data where a layer wants them."""
        return self.log_prob(x, condition)

    def encode(self, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns the latents `[B, D]` of `x [B, ...]`, and `log_det [B]`."""
        return self.bijector.encode(x, condition)

    def decode(self, z: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Returns `x [B, ...]` of latents `[B, D]`, and `log_det [B]`."""
        return self.bijector.decode(z, condition)

    def log_prob(self, x: Array, condition: Array | None = None) -> Array:
        """Returns the log-density `[B]` of `x [B, ...]` in nats."""
        z, log_det = self.bijector.encode(x, condition)
        return self.base.log_prob(z) + log_det

    def sample(
        self,
        key: Key,
        num: int,
        condition: Array | None = None,
        *,
        temperature: Array | float = 1.0,
    ) -> Array:
        """Returns `num` samples `[num, ...]` by one key or keys `[num]`.

        The deviation of the latents is that of the base times `temperature`; the model stays as it
        is.
        """
        z = self.base.sample(key, num, temperature)
        return self.bijector.decode(z, condition)[0]

    def sample_and_log_prob(
        self, key: Key, num: int, condition: Array | None = None
    ) -> tuple[Array, Array]:
        """Returns samples `[num, ...]` and their log-densities `[num]`, by one pass of `decode`."""
        z = self.base.sample(key, num)
        x, log_det = self.bijector.decode(z, condition)
        return x, self.base.log_prob(z) - log_det
