"""What every metric does with its arguments: sets of points as finite float64 arrays, in blocks."""

from collections.abc import Iterator

import chex
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.data.text import counted

Points = np.ndarray
"""Features or points, float64 `[N, D]`."""

_BLOCK_VALUES = 2**22


def check_points(name: str, x: ArrayLike, *, at_least: int = 0) -> np.ndarray:
    """Check one set of points, which stays in its own type (uint8 pixels take little memory).

    Args:
        name: what an error calls it.
        x: points, `[N, D]`, anything that `np.asarray` takes.
        at_least: the smallest number of points with which the metric is defined.

    Returns:
        The points, `[N, D]`.

    Raises:
        ValueError: if there are too few points, or a value is not finite, since one such value
            would silently decide the score.
    """
    points = np.asarray(x)
    chex.assert_rank(points, 2)
    if len(points) < at_least:
        raise ValueError(f"{name}: {counted(len(points), 'point')}, expected at least {at_least}")
    if not np.issubdtype(points.dtype, np.integer):
        bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
        if bad:
            raise ValueError(f"{name}: {bad} of {len(points)} rows are not finite, expected none")
    return points


def as_points(name: str, x: ArrayLike, *, at_least: int = 0) -> Points:
    """Convert one set of points to float64.

    Args:
        name: what an error calls it.
        x: points, `[N, D]`, anything that `np.asarray` takes.
        at_least: the smallest number of points with which the metric is defined.

    Returns:
        The points, float64 `[N, D]`.

    Raises:
        ValueError: if there are too few points or a value is not finite.
    """
    return check_points(name, x, at_least=at_least).astype(np.float64)


def as_pair(
    name: str, x: ArrayLike, other_name: str, other: ArrayLike, *, at_least: int = 1
) -> tuple[Points, Points]:
    """Convert two sets of points of one dimension to float64.

    Args:
        name: what an error calls the first.
        x: points, `[N, D]`.
        other_name: what an error calls the second.
        other: points, `[M, D]`.
        at_least: the smallest number of points with which the metric is defined.

    Returns:
        Both, float64 `[N, D]` and `[M, D]`.

    Raises:
        ValueError: if either has too few points or a value that is not finite.
    """
    points = as_points(name, x, at_least=at_least)
    others = as_points(other_name, other, at_least=at_least)
    chex.assert_equal(points.shape[1], others.shape[1])
    return points, others


def row_blocks(x: np.ndarray, num_columns: int) -> Iterator[tuple[slice, Points]]:
    """Cut points into float64 blocks that take 32 MiB beside a matrix of as many rows.

    Args:
        x: points of any type, `[N, D]`.
        num_columns: columns of that matrix.

    Yields:
        Rows of `x` and their values, float64 `[n, D]`.
    """
    size = max(_BLOCK_VALUES // max(x.shape[1], num_columns, 1), 1)
    for start in range(0, len(x), size):
        block = x[start : start + size].astype(np.float64)
        yield slice(start, start + len(block)), block


def squared_distances(x: Points, y: Points) -> np.ndarray:
    """Compute `|x|^2 - 2 x . y + |y|^2`; about a common mean these cancel least.

    Args:
        x: points, `[N, D]`.
        y: points, `[M, D]`.

    Returns:
        Squared Euclidean distances, at least 0, `[N, M]`.
    """
    norms, other_norms = np.sum(x**2, axis=1), np.sum(y**2, axis=1)
    return np.maximum(norms[:, None] - 2 * (x @ y.T) + other_norms, 0.0)
