"""Mixtures of normals over the latents of another family's model, fitted to its codes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.classical import mixture
from jaxgen.distributions import NormalMixture


def fit_mixture(codes: np.ndarray, num_components: int) -> NormalMixture:
    """Fits diagonal normals to codes by EM (ex-post density estimation).

    It changes what is sampled. It changes the likelihood bound only where it is installed as the
    prior. Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4.

    Args:
        codes: posterior means `[N, D]`.
        num_components: 1 to N.

    Returns:
        The mixture, whose variances are at least 1e-4 of the mean variance of the codes.
    """

    @jax.jit
    def fit(codes: jax.Array) -> mixture.Mixture:
        key = jax.random.key(0)
        return mixture.fit(key, codes, kind="diagonal", num_components=num_components)

    fitted = fit(jnp.asarray(codes))
    parts: Any = fitted.components
    return NormalMixture(fitted.logits, parts.mean, jnp.log(parts.noise))
