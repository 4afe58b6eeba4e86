"""Gaussian textures of one exemplar: fitted, drawn, measured, mixed and completed in closed form.

``texture.fit(u)`` is a distribution with `log_prob`, `sample` and `condition`.
"""

from jaxgen.classical.texture.algorithm import (
    ROUNDING_VARIANCE,
    Draw,
    TextureState,
    clipped_fraction,
    sampler,
    texture_algorithm,
    to_pixels,
)
from jaxgen.classical.texture.decomposition import PeriodicPlusSmooth, periodic_plus_smooth
from jaxgen.classical.texture.draws import random_phase_noise, spot_noise
from jaxgen.classical.texture.kriging import Conditional, Kriged, make_conditional
from jaxgen.classical.texture.spots import (
    autocovariance,
    enlarge_spot,
    make_masked_spot,
    make_spot,
    pad_spot,
    taper,
    texton,
)
from jaxgen.classical.texture.stationary import StationaryGaussian, fit, fit_masked, fit_periodic
from jaxgen.classical.texture.structure import difference_kurtosis, structure_gap
from jaxgen.classical.texture.transport import mix, wasserstein_distance

__all__ = [
    "ROUNDING_VARIANCE",
    "Conditional",
    "Draw",
    "Kriged",
    "PeriodicPlusSmooth",
    "StationaryGaussian",
    "TextureState",
    "autocovariance",
    "clipped_fraction",
    "difference_kurtosis",
    "enlarge_spot",
    "fit",
    "fit_masked",
    "fit_periodic",
    "make_conditional",
    "make_masked_spot",
    "make_spot",
    "mix",
    "pad_spot",
    "periodic_plus_smooth",
    "random_phase_noise",
    "sampler",
    "spot_noise",
    "structure_gap",
    "taper",
    "texton",
    "texture_algorithm",
    "to_pixels",
    "wasserstein_distance",
]
