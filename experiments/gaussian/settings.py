"""Settings of a Gaussian."""

import dataclasses
from typing import Annotated, Literal

from experiments.ranges import AT_LEAST_1, OnlyWith, check_settings

_OF_FACTORS = OnlyWith(covariance=("ppca", "factor_analysis"))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The Gaussian."""

    covariance: Literal["full", "ppca", "factor_analysis"] = "full"
    """Every pair of numbers, or a few factors and noise: equal in all numbers (ppca), or of a
    variance of its own in each (factor_analysis)."""
    shrinkage: Annotated[Literal["none", "ledoit_wolf", "oas"], OnlyWith(covariance=("full",))] = (
        "none"
    )
    """How the covariance is drawn towards a multiple of the identity, which fewer examples than
    numbers need."""
    num_factors: Annotated[int | None, AT_LEAST_1, _OF_FACTORS] = None
    """Factors; by default 20, or as many as the data allow."""
    em_steps: Annotated[int, AT_LEAST_1, OnlyWith(covariance=("factor_analysis",))] = 100
    """Iterations of EM behind the factor analysis."""

    def __post_init__(self) -> None:
        check_settings(self)
