"""Settings of a mixture of Gaussians."""

import dataclasses
from typing import Annotated, Literal

from experiments.ranges import AT_LEAST_1, POSITIVE, OnlyWith, Range, check_settings


@dataclasses.dataclass(frozen=True)
class Settings:
    """The mixture."""

    covariance: Literal["full", "tied", "diagonal", "spherical", "ppca", "factor_analysis"] = (
        "factor_analysis"
    )
    """Of each component: every pair of numbers, one such matrix for all (tied), a variance of each
    number (diagonal) or one for all numbers (spherical), or a few factors and noise, equal in all
    numbers (ppca) or of a variance of its own in each."""
    num_components: Annotated[int, AT_LEAST_1] = 10
    """Gaussians."""
    num_factors: Annotated[
        int | None, AT_LEAST_1, OnlyWith(covariance=("ppca", "factor_analysis"))
    ] = None
    """Factors of each; by default 8, or one fewer than there are numbers."""
    min_variance: Annotated[float, POSITIVE] = 1e-4
    """Floor of the covariances' eigenvalues, as a share of the mean variance of the data."""
    forgetting: Annotated[float, Range(0.5, 1.0, is_open=True, is_closed=True)] = 0.6
    """With batches (--batch-size) step t counts (t + 2) to the minus this beside all before."""

    def __post_init__(self) -> None:
        check_settings(self)
