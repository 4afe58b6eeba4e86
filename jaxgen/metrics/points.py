"""What every metric does at its door: two sets of points as finite float64 arrays."""

import chex
import numpy as np
from numpy.typing import ArrayLike

Points = np.ndarray
"""Features or points, float64 `[N, D]`."""


def as_points(name: str, x: ArrayLike) -> Points:
    """Convert one set of points to float64.

    Args:
        name: what an error calls it.
        x: points, `[N, D]`, anything that `np.asarray` takes.

    Returns:
        The points, float64 `[N, D]`.

    Raises:
        ValueError: if a value is not finite, since one such value would silently decide the score.
    """
    points = np.asarray(x, dtype=np.float64)
    chex.assert_rank(points, 2)
    bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
    if bad:
        raise ValueError(f"{name}: {bad} of {len(points)} rows are not finite, expected none")
    return points


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
    points, others = as_points(name, x), as_points(other_name, other)
    chex.assert_equal(points.shape[1], others.shape[1])
    for called, values in ((name, points), (other_name, others)):
        if len(values) < at_least:
            raise ValueError(f"{called}: {len(values)} points, expected at least {at_least}")
    return points, others
