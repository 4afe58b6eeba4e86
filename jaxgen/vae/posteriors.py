"""Approximate posteriors: the diagonal normal, and one that a bijector of the latents bends."""

from typing import Any, Protocol

from flax import struct

from jaxgen.distributions import Normal
from jaxgen.types import Array, Key, PyTree


class Posterior(Protocol):
    """What a posterior q(z|x) must do for the losses; a `Normal` does."""

    @property
    def mean(self) -> Array:
        """The code of each example, `[B, D]`."""
        ...

    def sample_and_log_prob(self, key: Key, /) -> tuple[Array, Array]:
        """One draw per example `[B, D]` by one key or keys `[B]`, and ``ln q(z|x)`` `[B]`."""
        ...


@struct.dataclass
class TransformedNormal:
    """A normal whose draws go through a bijector: ``ln q(z|x) = ln N(z_0) - log_det``.

    Attributes:
        base: the normal, over `[B, D]`.
        module: linen module with ``decode(z_0, condition) -> (z, log_det [B])``, an inverse
            autoregressive flow, say.
        variables: of it.
        condition: features of each example, `[B, F]`.

    Source:
        Rezende & Mohamed 2015, "Variational inference with normalizing flows", section 4; Kingma et
        al. 2016, "Improved variational inference with inverse autoregressive flow", section 3.
    """

    base: Normal
    module: Any = struct.field(pytree_node=False)
    variables: PyTree
    condition: Array

    @property
    def mean(self) -> Array:
        """Where the mean of the base goes, `[B, D]`."""
        return self._decode(self.base.mean)[0]

    def sample_and_log_prob(self, key: Key) -> tuple[Array, Array]:
        """One draw per example `[B, D]`, and its log-density `[B]` in nats."""
        start, log_prob = self.base.sample_and_log_prob(key)
        z, log_det = self._decode(start)
        return z, log_prob - log_det

    def _decode(self, z: Array) -> tuple[Array, Array]:
        return self.module.apply(self.variables, z, self.condition, method="decode")
