"""Fidelity and diversity apart, from balls around points that reach to their k-th neighbours."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.memorization import nearest_other_points
from jaxgen.metrics.points import as_pair, row_blocks, squared_distances

MIN_POINTS = 2
"""Of each set: a ball ends at another point."""


class PrecisionRecallDensityCoverage(NamedTuple):
    """Shares of points in the balls of the other set.

    Attributes:
        precision: share of fakes that lie in the ball of any real.
        recall: share of reals that lie in the ball of any fake.
        density: mean number of balls of reals around a fake, divided by num_neighbors; may exceed
            1. It is less moved by an outlier among the reals than the precision.
        coverage: share of reals with a fake in their ball.
        num_real: number of reals.
        num_fake: number of fakes.
        num_neighbors: the neighbour at which a ball ends.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    num_real: int
    num_fake: int
    num_neighbors: int


def precision_recall_density_coverage(
    real: ArrayLike, fake: ArrayLike, *, num_neighbors: int = 5
) -> PrecisionRecallDensityCoverage:
    """Compute precision, recall, density and coverage of fakes among reals.

    The ball of a point is closed and ends at its num_neighbors-th nearest other point of its own
    set. For two samples of one distribution the values are not 1: precision and recall fall with
    the dimension, the density has expectation 1, and the coverage has the expectation
    `1 - prod_{i=1..k} (N - i) / (N + M - i)`, about `1 - 2^-k` for equal sizes. Print the row of
    real against real beside a score.

    Args:
        real: features, `[N, D]`.
        fake: features, `[M, D]`.
        num_neighbors: k, 1 to below N and M, which are at least 2.

    Returns:
        The four values with the sample sizes.

    Raises:
        ValueError: if a set has fewer than 2 points, num_neighbors is out of range, or a value is
            not finite.

    Source:
        Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative
        Models", section 2; Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for
        Generative Models", section 3.
    """
    reals, fakes = as_pair("real", real, "fake", fake, at_least=MIN_POINTS)
    fewest = min(len(reals), len(fakes))
    if not 1 <= num_neighbors < fewest:
        raise ValueError(
            f"num_neighbors: {num_neighbors}, expected 1 to {fewest - 1} with {fewest} points"
        )
    real_radius = nearest_other_points(reals, num_neighbors=num_neighbors).distances[:, -1]
    fake_radius = nearest_other_points(fakes, num_neighbors=num_neighbors).distances[:, -1]
    balls_around = np.empty(len(fakes))
    recalled, covered = np.zeros(len(reals), bool), np.zeros(len(reals), bool)
    # Distances come from squared norms: about the mean of the reals these cancel least.
    origin = reals.mean(axis=0)
    for rows, block in row_blocks(fakes, len(reals)):
        distances = np.sqrt(squared_distances(block - origin, reals - origin))
        in_real_ball = distances <= real_radius
        balls_around[rows] = in_real_ball.sum(axis=1)
        covered |= in_real_ball.any(axis=0)
        recalled |= (distances <= fake_radius[rows, None]).any(axis=0)
    return PrecisionRecallDensityCoverage(
        precision=float(np.mean(balls_around > 0)),
        recall=float(recalled.mean()),
        density=float(balls_around.mean() / num_neighbors),
        coverage=float(covered.mean()),
        num_real=len(reals),
        num_fake=len(fakes),
        num_neighbors=num_neighbors,
    )
