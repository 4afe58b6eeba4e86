"""Autoencoders and variational autoencoders: losses, likelihoods, priors, models and algorithms."""

from jaxgen.vae import (
    class_binding,
    class_models,
    diagnostics,
    likelihoods,
    losses,
    models,
    networks,
    priors,
    semi_supervised,
)
from jaxgen.vae.algorithm import (
    autoencoder_algorithm,
    elbo_algorithm,
    importance_weighted_algorithm,
)
from jaxgen.vae.class_binding import class_codec
from jaxgen.vae.class_models import ClassVAE, conv_m2, mlp_m2
from jaxgen.vae.decoding import codec, sampler
from jaxgen.vae.m2 import m2_algorithm, supervised_algorithm
from jaxgen.vae.models import VAE, conv_vae, mlp_vae

__all__ = [
    "VAE",
    "ClassVAE",
    "autoencoder_algorithm",
    "class_binding",
    "class_codec",
    "class_models",
    "codec",
    "conv_m2",
    "conv_vae",
    "diagnostics",
    "elbo_algorithm",
    "importance_weighted_algorithm",
    "likelihoods",
    "losses",
    "m2_algorithm",
    "mlp_m2",
    "mlp_vae",
    "models",
    "networks",
    "priors",
    "sampler",
    "semi_supervised",
    "supervised_algorithm",
]
