"""Mixtures of Gaussians, fitted by expectation-maximisation."""

from jaxgen.classical.mixture.algorithm import MixtureState, mixture_algorithm
from jaxgen.classical.mixture.density import KINDS, Kind, Mixture, MixtureConditional, bic
from jaxgen.classical.mixture.em import EMStep, em_step, fit
from jaxgen.classical.mixture.expectation import expect
from jaxgen.classical.mixture.expected_sums import Sums
from jaxgen.classical.mixture.maximization import maximize
from jaxgen.classical.mixture.starts import start
from jaxgen.classical.mixture.sufficient_statistics import Statistics, average, merge

__all__ = [
    "KINDS",
    "EMStep",
    "Kind",
    "Mixture",
    "MixtureConditional",
    "MixtureState",
    "Statistics",
    "Sums",
    "average",
    "bic",
    "em_step",
    "expect",
    "fit",
    "maximize",
    "merge",
    "mixture_algorithm",
    "start",
]
