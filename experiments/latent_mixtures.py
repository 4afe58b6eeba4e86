"""A mixture of normals fitted to the codes of a run by another family, kept in its directory."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.distributions import NormalMixture
from jaxgen.vae import priors

_FILE = "mixture.npz"


def fit(path: pathlib.Path, codes: np.ndarray, num_components: int) -> None:
    """Fits diagonal normals to the codes of a run by EM (ex-post density estimation).

    It changes what is sampled. It changes the likelihood bound only where it is installed as the
    prior. Ghosh et al. 2020, "From variational to deterministic autoencoders", section 4.

    Args:
        path: of the run.
        codes: posterior means `[N, D]`.
        num_components: at least 1; of more than N, which is said, there are N. The variances are at
            least 1e-4 of the mean variance of the codes.
    """
    from jaxgen.classical import mixture  # It would delay the first step of a training.

    if num_components > len(codes):
        num_components = len(codes)
        print(f"mixture_components: {num_components}, as many as there are codes")

    @jax.jit
    def fit_codes(codes: jax.Array) -> Any:
        key = jax.random.key(0)
        return mixture.fit(key, codes, kind="diagonal", num_components=num_components)

    fitted = fit_codes(jnp.asarray(codes))
    parts: Any = fitted.components
    mixture_of_codes = NormalMixture(fitted.logits, parts.mean, jnp.log(parts.noise))
    priors.save_mixture(path / _FILE, mixture_of_codes)


def load(path: pathlib.Path) -> NormalMixture:
    """Reads the mixture of a run.

    Raises:
        ValueError: if none has been fitted yet.
    """
    return priors.load_mixture(path / _FILE)
