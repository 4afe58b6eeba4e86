"""Densities over the latents: normals, and mixtures that were fitted to codes after training.

The VampPrior, learned with the model, is `VAE.prior` with pseudo-inputs.
"""

import dataclasses
import math
import pathlib
from typing import Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxgen.arrays import at_least_float32
from jaxgen.distributions import Normal, NormalMixture, normal_kl_per_dimension
from jaxgen.types import Array, Key


class Prior(Protocol):
    """A density of the latents that can be sampled; a pytree, as losses take it."""

    def log_prob(self, z: Array, /) -> Array:
        """Log-density of ``z [B, D]``, `[B]` in nats."""
        ...

    def sample(self, key: Key, num: int, /) -> Array:
        """Samples `[num, D]` by one key or keys `[num]`."""
        ...


@runtime_checkable
class ClosedFormPrior(Prior, Protocol):
    """A prior p whose KL from a diagonal posterior has a closed form, which losses then use."""

    def kl_per_dimension(self, q: Normal, /) -> Array:
        """``KL(q || p)`` of each latent for q over `[B, D]`: `[B, D]` in nats."""
        ...


@struct.dataclass
class NormalPrior:
    """A diagonal normal over D latents.

    Attributes:
        mean: `[D]`.
        log_var: `[D]`.
    """

    mean: Array
    log_var: Array

    def log_prob(self, z: Array) -> Array:
        """Log-density of ``z [B, D]``, `[B]` in nats."""
        return self._repeat(len(z)).log_prob(z)

    def sample(self, key: Key, num: int) -> Array:
        """Samples `[num, D]` by one key or keys `[num]`."""
        return self._repeat(num).sample(key)

    def kl_per_dimension(self, q: Normal) -> Array:
        """``KL(q || p)`` of each latent for q over `[B, D]`: `[B, D]` in nats."""
        return normal_kl_per_dimension(q, self._repeat(1))

    def _repeat(self, num: int) -> Normal:
        shape = (num, len(self.mean))
        return Normal(jnp.broadcast_to(self.mean, shape), jnp.broadcast_to(self.log_var, shape))


def standard_normal(latent_dim: int) -> NormalPrior:
    """Makes the standard normal over the latents.

    Args:
        latent_dim: number of latents.

    Returns:
        The prior N(0, I).
    """
    return NormalPrior(jnp.zeros(latent_dim), jnp.zeros(latent_dim))


_Normals = TypeVar("_Normals", NormalPrior, NormalMixture)


def tempered(prior: _Normals, temperature: float) -> _Normals:
    """Multiplies the standard deviations of a normal, or of each component of a mixture.

    ``N(m, s^2)`` becomes ``N(m, (T s)^2)``; means and mixture weights stay. Samples keep their
    noise: by one key those of a normal lie on the line between its mean and the sample at 1. Below
    1 they are less varied and more typical; for T to 0 they are the means. It is no annealed
    density ``p^(1/T^2)``, which would change the weights of a mixture too.

    Args:
        prior: a normal or a mixture of normals, such as a VampPrior.
        temperature: T, above 0.

    Returns:
        The prior to sample from.

    Raises:
        ValueError: if `temperature` is not above 0 or the prior is of another kind.
    """
    if not temperature > 0.0:
        raise ValueError(f"temperature: {temperature}, expected above 0")
    if not isinstance(prior, NormalPrior | NormalMixture):
        raise ValueError(
            f"prior: {type(prior).__name__}, expected a normal or a mixture of normals, whose "
            "standard deviations a temperature multiplies; choose temperature 1"
        )
    log_var = at_least_float32(prior.log_var) + 2.0 * math.log(temperature)
    return dataclasses.replace(prior, log_var=log_var)


def save_mixture(path: str | pathlib.Path, mixture: NormalMixture) -> None:
    """Writes a mixture as plain arrays (NumPy's npz).

    Args:
        path: the file.
        mixture: to write.
    """
    with pathlib.Path(path).open("wb") as file:
        np.savez(file, logits=mixture.logits, mean=mixture.mean, log_var=mixture.log_var)


def load_mixture(path: str | pathlib.Path) -> NormalMixture:
    """Reads what `save_mixture` wrote; no code in the file is run.

    Args:
        path: the file.

    Returns:
        The mixture.

    Raises:
        ValueError: if there is no such file.
    """
    if not pathlib.Path(path).is_file():
        raise ValueError(f"{path}: no mixture has been fitted yet; train the run to its end")
    with np.load(path, allow_pickle=False) as arrays:
        return NormalMixture(*(jnp.asarray(arrays[name]) for name in ("logits", "mean", "log_var")))
