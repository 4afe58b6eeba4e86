"""Gaussians over images and other vectors, fitted in closed form."""

from jaxgen.classical.gaussian.algorithm import gaussian_algorithm
from jaxgen.classical.gaussian.conditional import GaussianConditional
from jaxgen.classical.gaussian.factor import FactorGaussian
from jaxgen.classical.gaussian.factor_analysis import fit_factor_analysis
from jaxgen.classical.gaussian.fits import (
    MIN_VARIANCE,
    PrincipalComponents,
    fit,
    fit_ppca,
    floored_cholesky,
    one_number_residual,
    principal_components,
)
from jaxgen.classical.gaussian.full import FullGaussian
from jaxgen.classical.gaussian.protocol import Gaussian
from jaxgen.classical.gaussian.shrinkage import ledoit_wolf, oas

__all__ = [
    "MIN_VARIANCE",
    "FactorGaussian",
    "FullGaussian",
    "Gaussian",
    "GaussianConditional",
    "PrincipalComponents",
    "fit",
    "fit_factor_analysis",
    "fit_ppca",
    "floored_cholesky",
    "gaussian_algorithm",
    "ledoit_wolf",
    "oas",
    "one_number_residual",
    "principal_components",
]
