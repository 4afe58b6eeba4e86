"""The kernel distance (squared maximum mean discrepancy) between two sets of features.

Unlike the Frechet distance it is unbiased at every sample size: for equal distributions its
expectation is 0 and it is negative about as often as not.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.points import Points, as_pair

MIN_POINTS = 3
"""Of each set: two points make one pair, which leaves no standard error."""

_ROWS = 1024
"""Rows of a kernel matrix that are in memory at a time."""


class KernelDistance(NamedTuple):
    """A kernel distance and what it was measured from.

    Attributes:
        value: the unbiased estimate; it may be below 0.
        standard_error: of the value, over draws of both sets.
        num: number of points of the first set.
        other_num: number of points of the second set.
        num_features: their dimension.
    """

    value: float
    standard_error: float
    num: int
    other_num: int
    num_features: int


class _Kernel(NamedTuple):
    """A kernel matrix reduced to what the estimate and its error need.

    Attributes:
        row_means: `[N]`.
        column_means: `[M]`.
        interaction: variance of what rows and columns do not explain.
    """

    row_means: np.ndarray
    column_means: np.ndarray
    interaction: float


def _row_blocks(x: Points, y: Points) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of rows of the cubic kernel matrix `[N, M]`, with the index of their first row."""
    for start in range(0, len(x), _ROWS):
        yield start, (x[start : start + _ROWS] @ y.T / x.shape[1] + 1.0) ** 3


def _interaction(square: float, rows: np.ndarray, columns: np.ndarray) -> float:
    """Variance of `k` less those of its row and column means; at least 0 in spite of rounding."""
    return max(square - rows.mean() ** 2 - rows.var() - columns.var(), 0.0)


def _between(x: Points, y: Points) -> _Kernel:
    """All pairs of points of two sets."""
    rows, columns, square = np.empty(len(x)), np.zeros(len(y)), 0.0
    for start, block in _row_blocks(x, y):
        rows[start : start + len(block)] = block.mean(axis=1)
        columns += block.sum(axis=0) / len(x)
        square += float(np.sum(block**2))
    return _Kernel(rows, columns, _interaction(square / (len(x) * len(y)), rows, columns))


def _within(x: Points) -> _Kernel:
    """All pairs of distinct points of one set."""
    rows, square = np.empty(len(x)), 0.0
    for start, block in _row_blocks(x, x):
        index = np.arange(len(block))
        block[index, start + index] = 0.0
        rows[start : start + len(block)] = block.sum(axis=1) / (len(x) - 1)
        square += float(np.sum(block**2))
    square /= len(x) * (len(x) - 1)
    return _Kernel(rows, rows, _interaction(square, rows, rows))


def kernel_distance(features: ArrayLike, other: ArrayLike) -> KernelDistance:
    """Estimate the squared maximum mean discrepancy under the cubic kernel (x . y / D + 1)^3.

    `mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)`, the full
    U-statistic over all pairs, so the result does not depend on a draw of subsets. Its standard
    error is that of the Hoeffding decomposition of first and second order, which holds for
    different distributions and for equal ones (where the first order vanishes, the error falls as
    `1 / N` and the value follows a mixture of chi-squares rather than a normal).

    Time is `O((N + M)^2 D)`, memory `O(N + M)` rows of 1024.

    Args:
        features: `[N, D]`, N at least 3. They are not standardised.
        other: `[M, D]`, M at least 3.

    Returns:
        The distance with its standard error and the sample sizes.

    Raises:
        ValueError: if a set has fewer than 3 points or a value that is not finite.

    Source:
        Bińkowski et al. 2018, "Demystifying MMD GANs" (the cubic kernel); Gretton et al.
        2012, "A Kernel Two-Sample Test", equation 3 (the unbiased estimate); Hoeffding 1948, "A
        Class of Statistics with Asymptotically Normal Distribution", section 5 (its variance).
    """
    x, y = as_pair("features", features, "other", other, at_least=MIN_POINTS)
    n, m = len(x), len(y)
    xx, yy, xy = _within(x), _within(y), _between(x, y)
    value = xx.row_means.mean() + yy.row_means.mean() - 2 * xy.row_means.mean()
    # The variance of a row mean holds the noise of the mean beside the signal of the first order.
    first_x = np.var(xx.row_means - xy.row_means, ddof=1)
    first_x -= xx.interaction / (n - 1) + xy.interaction / m
    first_y = np.var(yy.row_means - xy.column_means, ddof=1)
    first_y -= yy.interaction / (m - 1) + xy.interaction / n
    variance = 4 * max(first_x, 0.0) / n + 4 * max(first_y, 0.0) / m
    variance += 2 * xx.interaction / (n * (n - 1)) + 2 * yy.interaction / (m * (m - 1))
    variance += 4 * xy.interaction / (n * m)
    return KernelDistance(float(value), math.sqrt(variance), n, m, x.shape[1])
