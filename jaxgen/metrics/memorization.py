"""Nearest neighbours of samples among the training data: does the model copy?

A distance alone says nothing. The yardstick is how far held-out test data lie from the training
data: samples of the right law are neither nearer nor further.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.points import Points, as_pair, as_points


class Neighbors(NamedTuple):
    """Nearest neighbours, the nearest first.

    Attributes:
        distances: Euclidean, float64 `[N, K]`.
        indices: rows of the searched set, integer `[N, K]`.
    """

    distances: np.ndarray
    indices: np.ndarray


class DataCopying(NamedTuple):
    """How near samples lie to the training data, in comparison with test data.

    Attributes:
        share_nearer: probability that a sample is nearer to the training data than a test point:
            0.5 for samples of the law of the data, 1 for copies, 0 for samples off the data.
        z: the same in standard errors from 0.5 (Mann and Whitney's statistic).
        num_nearer_than_all_test: samples that are nearer than every test point, the suspects. By
            chance there are `num / (num_test + 1)`.
        median_distance: median distance of a sample to the training data.
        test_median_distance: median distance of a test point to the training data.
        num: number of samples.
        num_train: number of training points.
        num_test: number of test points.
    """

    share_nearer: float
    z: float
    num_nearer_than_all_test: int
    median_distance: float
    test_median_distance: float
    num: int
    num_train: int
    num_test: int


def _with_exact_distances(x: Points, others: Points, indices: np.ndarray) -> Neighbors:
    """Measure what scikit-learn found: its `|x|^2 - 2 x . y + |y|^2` gives copies 1e-7, not 0."""
    columns = [np.linalg.norm(x - others[column], axis=1) for column in indices.T]
    distances = np.stack(columns, axis=1)
    order = np.argsort(distances, axis=1, kind="stable")
    return Neighbors(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1)
    )


def nearest_neighbors(samples: ArrayLike, train: ArrayLike, *, num_neighbors: int = 1) -> Neighbors:
    """Find the nearest training points of each sample, in chunks of bounded memory.

    Args:
        samples: points, `[N, D]`.
        train: points, `[M, D]`.
        num_neighbors: neighbours of each sample, 1 to M.

    Returns:
        Distances and rows of `train`, `[N, num_neighbors]`, the nearest first.

    Raises:
        ValueError: if num_neighbors is out of range, or a set is empty or not finite.
    """
    from sklearn import neighbors

    x, y = as_pair("samples", samples, "train", train)
    if not 1 <= num_neighbors <= len(y):
        raise ValueError(f"num_neighbors: {num_neighbors}, expected 1 to {len(y)}")
    search = neighbors.NearestNeighbors(n_neighbors=num_neighbors).fit(y)
    return _with_exact_distances(x, y, search.kneighbors(x, return_distance=False))


def nearest_other_points(x: ArrayLike, *, num_neighbors: int = 1) -> Neighbors:
    """Find the nearest points of each point within its own set, itself excluded.

    A second copy of a point is another point, at distance 0.

    Args:
        x: points, `[N, D]`.
        num_neighbors: neighbours of each point, 1 to N - 1.

    Returns:
        Distances and rows of `x`, `[N, num_neighbors]`, the nearest first.

    Raises:
        ValueError: if num_neighbors is out of range, or a value is not finite.
    """
    from sklearn import neighbors

    points = as_points("x", x)
    if not 1 <= num_neighbors < len(points):
        raise ValueError(f"num_neighbors: {num_neighbors}, expected 1 to {len(points) - 1}")
    search = neighbors.NearestNeighbors(n_neighbors=num_neighbors).fit(points)
    return _with_exact_distances(points, points, search.kneighbors(return_distance=False))


def data_copying(samples: ArrayLike, train: ArrayLike, test: ArrayLike) -> DataCopying:
    """Compare the distances of samples to the training data with those of test data.

    Args:
        samples: points, `[N, D]`.
        train: points that the model was trained on, `[M, D]`.
        test: points of the same law that it never saw, `[T, D]`.

    Returns:
        Shares and medians with the sample sizes; `nearest_neighbors` has the pairs themselves.

    Raises:
        ValueError: if a set is empty or not finite.

    Source:
        Meehan, Chaudhuri and Dasgupta (2020), A non-parametric test to detect data-copying in
        generative models (their test over the whole space).
    """
    distances = nearest_neighbors(samples, train).distances[:, 0]
    reference = np.sort(nearest_neighbors(test, train).distances[:, 0])
    num, num_test = len(distances), len(reference)
    # Test points that are further than a sample, and half of those that are equally far.
    below = np.searchsorted(reference, distances, side="left")
    through = np.searchsorted(reference, distances, side="right")
    share = float(1.0 - (below + through).mean() / (2 * num_test))
    error = math.sqrt((num + num_test + 1) / (12 * num * num_test))
    return DataCopying(
        share_nearer=share,
        z=(share - 0.5) / error,
        num_nearer_than_all_test=int(np.count_nonzero(distances < reference[0])),
        median_distance=float(np.median(distances)),
        test_median_distance=float(np.median(reference)),
        num=num,
        num_train=len(np.asarray(train)),
        num_test=num_test,
    )
