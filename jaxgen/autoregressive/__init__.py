"""Autoregressive models: the exact probability of an image, pixel by pixel."""

from jaxgen.autoregressive import heads, losses, networks, orders, samplers
from jaxgen.autoregressive.algorithm import autoregressive_algorithm, sampler
from jaxgen.autoregressive.causality import Causality, causality
from jaxgen.autoregressive.completion import MASKS, Mask, check_mask, known_mask
from jaxgen.autoregressive.models import PixelModel

__all__ = [
    "MASKS",
    "Causality",
    "Mask",
    "PixelModel",
    "autoregressive_algorithm",
    "causality",
    "check_mask",
    "heads",
    "known_mask",
    "losses",
    "networks",
    "orders",
    "sampler",
    "samplers",
]
