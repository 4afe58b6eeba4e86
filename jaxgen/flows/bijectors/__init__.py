"""Invertible maps with their log-determinants, as linen modules with `encode` and `decode`."""

from jaxgen.flows.bijectors.actnorm import ActNorm
from jaxgen.flows.bijectors.autoregressive import MaskedAutoregressive
from jaxgen.flows.bijectors.composition import (
    Bijector,
    Chain,
    Concatenate,
    Flatten,
    Inverse,
    OnFirst,
    Repeat,
    chain,
)
from jaxgen.flows.bijectors.coupling import CheckerboardCoupling, Coupling
from jaxgen.flows.bijectors.elementwise import Additive, Affine, Elementwise
from jaxgen.flows.bijectors.linear import InvertibleConv, Permutation
from jaxgen.flows.bijectors.multiscale import Split, Squeeze, TakeEdge, multiscale
from jaxgen.flows.bijectors.planar import Planar
from jaxgen.flows.bijectors.radial import Radial
from jaxgen.flows.bijectors.spline import Spline

__all__ = [
    "ActNorm",
    "Additive",
    "Affine",
    "Bijector",
    "Chain",
    "CheckerboardCoupling",
    "Concatenate",
    "Coupling",
    "Elementwise",
    "Flatten",
    "Inverse",
    "InvertibleConv",
    "MaskedAutoregressive",
    "OnFirst",
    "Permutation",
    "Planar",
    "Radial",
    "Repeat",
    "Spline",
    "Split",
    "Squeeze",
    "TakeEdge",
    "chain",
    "multiscale",
]
