"""Inverse problems: images given a noisy linear measurement of them, under any model of images."""

from jaxgen.inverse import (
    guided,
    kernels,
    latent_posteriors,
    operators,
    posterior_samplers,
    spectra,
    spectral_samplers,
    total_variation,
)
from jaxgen.inverse.image_priors import (
    CompletionPrior,
    DiffusionPrior,
    GaussianPrior,
    LatentPrior,
    Prior,
    density_prior,
    gaussian_of_pixels,
)
from jaxgen.inverse.linear_operator import Operator, check_operator, stack
from jaxgen.inverse.solve import methods_of, solve

__all__ = [
    "CompletionPrior",
    "DiffusionPrior",
    "GaussianPrior",
    "LatentPrior",
    "Operator",
    "Prior",
    "check_operator",
    "density_prior",
    "gaussian_of_pixels",
    "guided",
    "kernels",
    "latent_posteriors",
    "methods_of",
    "operators",
    "posterior_samplers",
    "solve",
    "spectra",
    "spectral_samplers",
    "stack",
    "total_variation",
]
