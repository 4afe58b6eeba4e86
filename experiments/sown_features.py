"""What a network sows of its inner layers as the intermediate `features`, one row per example."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgen.arrays import at_least_float32
from jaxgen.types import Array, PyTree


def sown(module: nn.Module, variables: PyTree, *inputs: Any, **settings: Any) -> Array:
    """Applies a network and returns what it has sown, its one array `[..., B, ..., F]`."""
    _, kept = module.apply(variables, *inputs, mutable=["intermediates"], **settings)
    (features,) = jax.tree.leaves(kept["intermediates"])
    return features


def pooled(features: Array) -> Array:
    """The mean over all pixels or tokens of `[B, ..., F]`, float32 `[B, F]`."""
    return jnp.mean(at_least_float32(features), axis=range(1, features.ndim - 1))
