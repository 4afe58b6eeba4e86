"""Normalizing flows: bijectors, densities of vectors and of images, losses and an algorithm."""

from jaxgen.flows import bases, bijectors, conditioners, dequantization, diagnostics, losses, models
from jaxgen.flows.algorithm import likelihood_algorithm, sampler
from jaxgen.flows.bijectors import chain
from jaxgen.flows.flow import Flow
from jaxgen.flows.image_flow import ImageFlow
from jaxgen.flows.models import image_bijector, make_base, make_image_flow, vector_bijector
from jaxgen.module_density import ModuleDensity

__all__ = [
    "Flow",
    "ImageFlow",
    "ModuleDensity",
    "bases",
    "bijectors",
    "chain",
    "conditioners",
    "dequantization",
    "diagnostics",
    "image_bijector",
    "likelihood_algorithm",
    "losses",
    "make_base",
    "make_image_flow",
    "models",
    "sampler",
    "vector_bijector",
]
