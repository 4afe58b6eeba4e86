"""Densities over the latents: the standard normal, and mixtures fitted to codes after training.

The VampPrior, learned with the model, is `VAE.prior` with pseudo-inputs. Each density has ``log_prob(z) -> [B]`` and
``sample(key, num) -> z``.
"""

import pathlib
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxgen.distributions import Normal, NormalMixture
from jaxgen.types import Array, Key


class Prior(Protocol):
    """A density of the latents that can be sampled."""

    def log_prob(self, z: Array, /) -> Array:
        """Log-density of ``z [B, D]``, `[B]` in nats."""
        ...

    def sample(self, key: Key, num: int, /) -> Array:
        """Draws `[num, D]`."""
        ...


@struct.dataclass
class StandardNormal:
    """The standard normal over D latents, whose divergence from a diagonal posterior has a closed form.

    Attributes:
        origin: zeros `[D]`.
    """

    origin: Array

    def log_prob(self, z: Array) -> Array:
        """Log-density of ``z [B, D]``, `[B]` in nats."""
        zero = jnp.zeros_like(z, jnp.float32)
        return Normal(zero, zero).log_prob(z)

    def sample(self, key: Key, num: int) -> Array:
        """Draws `[num, D]`."""
        zero = jnp.zeros((num, len(self.origin)))
        return Normal(zero, zero).sample(key)


def standard_normal(latent_dim: int) -> StandardNormal:
    """Makes the standard normal over the latents.

    Args:
        latent_dim: number of latents.

    Returns:
        The prior.
    """
    return StandardNormal(jnp.zeros(latent_dim))


def fit_mixture(z: np.ndarray, *, num_components: int, seed: int = 0) -> NormalMixture:
    """Fits a mixture of diagonal Gaussians to codes by expectation-maximisation (an ex-post density).

    It changes what is sampled. It changes the likelihood bound only where it is installed as the prior.

    Args:
        z: codes `[N, D]`: posterior means, or posterior draws if the bound is what matters.
        num_components: at most N.
        seed: of the initial responsibilities.

    Returns:
        The mixture. Its variances have a floor of 1e-4 of the mean variance of the codes.

    Raises:
        ValueError: if there are fewer codes than components.

    Source:
        Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4.
    """
    from sklearn.mixture import GaussianMixture

    if not 1 <= num_components <= len(z):
        raise ValueError(
            f"num_components: {num_components}, expected from 1 to the number of codes, {len(z)}"
        )
    floor = 1e-4 * float(np.mean(np.var(z, axis=0))) + 1e-12
    fit = GaussianMixture(
        num_components, covariance_type="diag", reg_covar=floor, random_state=seed, max_iter=300
    ).fit(np.asarray(z, np.float64))
    parameters = np.log(fit.weights_), fit.means_, np.log(fit.covariances_)
    return NormalMixture(*(jnp.asarray(value, jnp.float32) for value in parameters))


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
    """
    with np.load(path, allow_pickle=False) as arrays:
        return NormalMixture(*(jnp.asarray(arrays[name]) for name in ("logits", "mean", "log_var")))
