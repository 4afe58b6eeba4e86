"""Densities of the latents of a flow: the standard normal, and a mixture that learns along."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.arrays import sample_by_example, sum_event
from jaxgen.distributions import NormalMixture
from jaxgen.types import Array, Key


class StandardNormal(nn.Module):
    """``N(0, I)`` over vectors.

    Attributes:
        num_dims: D.
    """

    num_dims: int

    def log_prob(self, z: Array) -> Array:
        """Returns the log-density `[B]` of `z [B, D]` in nats; ValueError for another D."""
        _check_dims(z, self.num_dims)
        return sum_event(-0.5 * (z * z + math.log(2.0 * math.pi)))

    def sample(self, key: Key, num: int, temperature: Array | float = 1.0) -> Array:
        """Returns `[num, D]` by one key or keys `[num]`, its deviation times `temperature`."""
        shape = (num, self.num_dims)
        return temperature * sample_by_example(jax.random.normal, key, shape)


class LearnedMixture(nn.Module):
    """A mixture of diagonal normals over vectors, trained with the flow.

    Attributes:
        num_dims: D.
        num_components: K, at least 1.
    """

    num_dims: int
    num_components: int = 10

    def log_prob(self, z: Array) -> Array:
        """Returns the log-density `[B]` of `z [B, D]` in nats; ValueError for another D."""
        _check_dims(z, self.num_dims)
        return self._mixture(1.0).log_prob(z)

    def sample(self, key: Key, num: int, temperature: Array | float = 1.0) -> Array:
        """Returns `[num, D]` by one key or keys `[num]`, each component's deviation scaled."""
        return self._mixture(temperature).sample(key, num)

    @nn.compact
    def _mixture(self, temperature: Array | float) -> NormalMixture:
        zeros, shape = nn.initializers.zeros_init(), (self.num_components, self.num_dims)
        logits = self.param("logits", zeros, (self.num_components,))
        mean = self.param("mean", nn.initializers.normal(0.5), shape)
        log_var = self.param("log_var", zeros, shape)
        return NormalMixture(logits, mean, log_var + 2.0 * jnp.log(temperature))


def _check_dims(z: Array, num_dims: int) -> None:
    if z.shape[1:] != (num_dims,):
        raise ValueError(f"z: shape {z.shape}, expected [B, {num_dims}] by the base's num_dims")
