"""A Gaussian given some of its numbers: completion in closed form."""

import jax
import jax.numpy as jnp
from flax import struct

from jaxgen.classical.gaussian.protocol import Gaussian
from jaxgen.types import Array, Key


@struct.dataclass
class GaussianConditional:
    """The distribution of all numbers given those that a mask shows.

    Args:
        gaussian: before anything was observed.
        x: `[B, n]`; what is not observed is not read.
        observed: true where a number is known, `[n]` or `[B, n]`.

    Source:
        Bishop 2006, "Pattern recognition and machine learning", section 2.3.1.
    """

    gaussian: Gaussian
    x: Array
    observed: Array

    @jax.jit
    def expectation(self) -> Array:
        """The expectation, `[B, n]`; numbers observed are themselves."""
        return self.gaussian.fill(self.x, self.observed)

    @jax.jit
    def sample(self, key: Key) -> Array:
        """A draw for each example, `[B, n]`, by one key or keys `[B]`.

        A draw of the whole Gaussian is moved by what its observed numbers lack: its deviation from
        its own expectation given them has the conditional covariance.
        """
        draw = self.gaussian.sample(key, len(self.x))
        return jnp.where(jnp.atleast_2d(self.observed), self.x, draw + self.shift(draw))

    def shift(self, draw: Array) -> Array:
        """What takes draws `[B, n]` of the Gaussian to draws of this distribution."""
        return self.expectation() - self.gaussian.fill(draw, self.observed)

    @jax.jit
    def log_prob(self, x: Array) -> Array:
        """Log-density of what is not observed, taken from ``x [B, n]``: `[B]` in nats.

        What is observed is taken from the condition.
        """
        whole = jnp.where(jnp.atleast_2d(self.observed), self.x, x)
        return self.gaussian.log_prob(whole) - self.gaussian.log_prob(self.x, self.observed)
