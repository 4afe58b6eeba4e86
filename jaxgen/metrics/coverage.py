"""Fidelity and diversity apart, from balls around points that reach to their k-th neighbours."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.memorization import nearest_other_points
from jaxgen.metrics.points import Points, as_pair


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


def _distance_blocks(fake: Points, real: Points) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows of the distances `[N_fake, N_real]`, within scikit-learn's working memory."""
    from sklearn import metrics

    start = 0
    for block in metrics.pairwise_distances_chunked(fake, real):
        yield slice(start, start + len(block)), block
        start += len(block)


def precision_recall_density_coverage(
    real: ArrayLike, fake: ArrayLike, *, num_neighbors: int = 5
) -> PrecisionRecallDensityCoverage:
    """Compute precision, recall, density and coverage of fakes among reals.

    The ball of a point is closed and ends at its num_neighbors-th nearest other point of its own
    set. For two samples of one law the values are not 1: precision and recall fall with the
    dimension, the density has expectation 1, and the coverage has expectation
    `1 - prod_{i=1..k} (N - i) / (N + M - i)`, about `1 - 2^-k` for equal sizes. Print the row of
    real against real beside a score.

    Args:
        real: features, `[N, D]`.
        fake: features, `[M, D]`.
        num_neighbors: k, 1 to below N and M.

    Returns:
        The four values with the sample sizes.

    Raises:
        ValueError: if num_neighbors is out of range, or a value is not finite.

    Source:
        Naeem, Oh, Uh, Choi and Yoo (2020), Reliable fidelity and diversity metrics for generative
        models; Kynkaanniemi, Karras, Laine, Lehtinen and Aila (2019), Improved precision and recall
        metric for assessing generative models.
    """
    reals, fakes = as_pair("real", real, "fake", fake)
    if not 1 <= num_neighbors < min(len(reals), len(fakes)):
        limit = min(len(reals), len(fakes)) - 1
        raise ValueError(f"num_neighbors: {num_neighbors}, expected 1 to {limit}")
    real_radius = nearest_other_points(reals, num_neighbors=num_neighbors).distances[:, -1]
    fake_radius = nearest_other_points(fakes, num_neighbors=num_neighbors).distances[:, -1]
    balls_around = np.empty(len(fakes))
    recalled, covered = np.zeros(len(reals), bool), np.zeros(len(reals), bool)
    # Distances come from squared norms: about the mean of the reals these cancel least.
    origin = reals.mean(axis=0)
    for rows, distances in _distance_blocks(fakes - origin, reals - origin):
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
