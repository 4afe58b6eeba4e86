"""Autoencoders and variational autoencoders: losses, likelihoods, priors, models and algorithms."""

from jaxgen.vae import diagnostics, likelihoods, losses, models, networks, priors
from jaxgen.vae.algorithm import (
    autoencoder_algorithm,
    elbo_algorithm,
    importance_weighted_algorithm,
)
from jaxgen.vae.decoding import codec, sampler
from jaxgen.vae.models import VAE, conv_vae, mlp_vae

__all__ = [
    "VAE",
    "autoencoder_algorithm",
    "codec",
    "conv_vae",
    "diagnostics",
    "elbo_algorithm",
    "importance_weighted_algorithm",
    "likelihoods",
    "losses",
    "mlp_vae",
    "models",
    "networks",
    "priors",
    "sampler",
]
