"""A VAE of jaxgen."""

import numpy as np
import optax

from benchmarks.peers import common, jaxgen_loop, vae_sizes
from jaxgen import vae
from jaxgen.training.jax_setup import configure
from jaxgen.types import Algorithm

STEPS_PER_CALL = 100


def _algorithm(workload: vae_sizes.Workload, shape: tuple[int, ...]) -> Algorithm:
    likelihood = vae.likelihoods.bernoulli(levels=2)
    if workload == "mlp":
        model = vae.mlp_vae(
            shape, likelihood, latent_dim=vae_sizes.MLP_LATENT, hidden_sizes=(vae_sizes.MLP_HIDDEN,)
        )
    else:
        model = vae.conv_vae(
            shape, likelihood, latent_dim=vae_sizes.CONV_LATENT, channels=vae_sizes.CONV_FEATURES
        )
    return vae.elbo_algorithm(model, optax.adam(vae_sizes.LEARNING_RATE), levels=2)


def build(
    workload: vae_sizes.Workload, variant: str, images: np.ndarray, threads: int
) -> common.Program:
    """Builds the jaxgen contestant.

    Args:
        workload: which VAE.
        variant: unused: there is one.
        images: uint8 `[N, 28, 28, 1]`.
        threads: unused: JAX takes the cores that the process may use.

    Returns:
        the program.
    """
    del variant, threads
    configure()
    return jaxgen_loop.program(
        _algorithm(workload, images.shape[1:]),
        images,
        batch_size=vae_sizes.BATCH_SIZE,
        steps_per_call=STEPS_PER_CALL,
        loss="loss",
    )
