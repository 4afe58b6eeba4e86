"""Nearest neighbours of samples among the training data: does the model copy?

A distance alone says nothing. It is compared with how far held-out test data lie from the training
data: samples of the right distribution are neither nearer nor further.
"""

import math
from typing import NamedTuple

import chex
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.points import Points, check_points, row_blocks, squared_distances


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
            0.5 for samples of the distribution of the data, 1 for copies, 0 for samples off the
            data.
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


_SEARCHED_ROWS = 1024
"""Points whose neighbours are searched at a time."""


def _search(x: np.ndarray, y: np.ndarray, num_neighbors: int, *, skip_own: bool) -> Neighbors:
    """Nearest rows of `y`, all pairs in blocks; with skip_own row i of `x` is row i of `y`."""
    distances = np.empty((len(x), num_neighbors))
    indices = np.empty((len(x), num_neighbors), np.int64)
    # Distances come from squared norms: about the mean these cancel least.
    origin = y.mean(axis=0, dtype=np.float64)
    for start in range(0, len(x), _SEARCHED_ROWS):
        rows = slice(start, min(start + _SEARCHED_ROWS, len(x)))
        points = x[rows].astype(np.float64)
        squares = np.empty((len(points), 0))
        found = np.empty((len(points), 0), np.int64)
        for columns, others in row_blocks(y, len(points)):
            more = squared_distances(points - origin, others - origin)
            which = np.broadcast_to(np.arange(columns.start, columns.stop), more.shape)
            if skip_own:
                more[which == np.arange(rows.start, rows.stop)[:, None]] = np.inf
            squares = np.concatenate([squares, more], axis=1)
            found = np.concatenate([found, which], axis=1)
            if squares.shape[1] > num_neighbors:
                best = np.argpartition(squares, num_neighbors - 1, axis=1)[:, :num_neighbors]
                squares = np.take_along_axis(squares, best, axis=1)
                found = np.take_along_axis(found, best, axis=1)
        distances[rows], indices[rows] = _measured(points, y, found)
    return Neighbors(distances, indices)


def _measured(points: Points, y: np.ndarray, found: np.ndarray) -> Neighbors:
    """Measure and sort what was found: the distances of squared norms give copies 1e-7, not 0."""
    columns = [np.linalg.norm(points - y[column], axis=1) for column in found.T]
    distances = np.stack(columns, axis=1)
    order = np.argsort(distances, axis=1, kind="stable")
    return Neighbors(
        np.take_along_axis(distances, order, axis=1), np.take_along_axis(found, order, axis=1)
    )


def nearest_neighbors(samples: ArrayLike, train: ArrayLike, *, num_neighbors: int = 1) -> Neighbors:
    """Find the nearest training points of each sample, among all pairs, in bounded memory.

    Args:
        samples: points, `[N, D]`.
        train: points, `[M, D]`.
        num_neighbors: neighbours of each sample, 1 to M.

    Returns:
        Distances and rows of `train`, `[N, num_neighbors]`, the nearest first.

    Raises:
        ValueError: if num_neighbors is out of range, or a set is empty or not finite.
    """
    x = check_points("samples", samples, at_least=1)
    y = check_points("train", train, at_least=1)
    chex.assert_equal(x.shape[1], y.shape[1])
    if not 1 <= num_neighbors <= len(y):
        raise ValueError(f"num_neighbors: {num_neighbors}, expected 1 to {len(y)}")
    return _search(x, y, num_neighbors, skip_own=False)


def nearest_other_points(x: ArrayLike, *, num_neighbors: int = 1) -> Neighbors:
    """Find the nearest points of each point within its own set, itself excluded.

    A second copy of a point is another point, at distance 0.

    Args:
        x: points, `[N, D]`, N at least 2.
        num_neighbors: neighbours of each point, 1 to N - 1.

    Returns:
        Distances and rows of `x`, `[N, num_neighbors]`, the nearest first.

    Raises:
        ValueError: if there are fewer than 2 points, num_neighbors is out of range, or a value is
            not finite.
    """
    points = check_points("x", x, at_least=2)
    if not 1 <= num_neighbors < len(points):
        raise ValueError(f"num_neighbors: {num_neighbors}, expected 1 to {len(points) - 1}")
    return _search(points, points, num_neighbors, skip_own=True)


def data_copying(samples: ArrayLike, train: ArrayLike, test: ArrayLike) -> DataCopying:
    """Compare the distances of samples to the training data with those of test data.

    Args:
        samples: points, `[N, D]`.
        train: points that the model was trained on, `[M, D]`.
        test: points of the same distribution that it never saw, `[T, D]`.

    Returns:
        Shares and medians with the sample sizes; `nearest_neighbors` has the pairs themselves.

    Raises:
        ValueError: if a set is empty or not finite.

    Source:
        Meehan et al. 2020, "A Non-Parametric Test to Detect Data-Copying in Generative Models",
        section 3 (their test over the whole space).
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
