"""A module that is a density, with its parameters: what losses take as a prior or a target."""

from typing import Any

from flax import struct

from jaxgen.types import Array, Key, PyTree


@struct.dataclass
class ModuleDensity:
    """A linen module with `log_prob` and `sample`, such as a flow, and its variables: a pytree.

    Attributes:
        module: with the methods ``log_prob(x, condition)``, ``sample(key, num, condition)`` and
            maybe ``sample_and_log_prob(key, num, condition)``.
        variables: of it.
        condition: for every method, `[B, F]`, or None.
    """

    module: Any = struct.field(pytree_node=False)
    variables: PyTree
    condition: Array | None = None

    def log_prob(self, x: Array) -> Array:
        """Log-density of `x [B, ...]`: `[B]` in nats."""
        return self.module.apply(self.variables, x, self.condition, method="log_prob")

    def sample(self, key: Key, num: int) -> Array:
        """Samples `[num, ...]` by one key or keys `[num]`."""
        return self.module.apply(self.variables, key, num, self.condition, method="sample")

    def sample_and_log_prob(self, key: Key, num: int) -> tuple[Array, Array]:
        """Samples `[num, ...]`, and their log-densities `[num]` in nats."""
        method = "sample_and_log_prob"
        return self.module.apply(self.variables, key, num, self.condition, method=method)
