"""The sliced Wasserstein distance: exact optimal transport along random directions."""

from typing import NamedTuple

import chex
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.points import check_points, row_blocks

MIN_POINTS = 1
"""Of each set."""

_DIRECTIONS = 32
"""Directions that are projected at a time."""


class SlicedWasserstein(NamedTuple):
    """A sliced Wasserstein distance and what it was measured from.

    Attributes:
        value: the distance, in units of the points.
        standard_error: of the value, over the random directions alone (not over the points).
        num: number of points of the first set.
        other_num: number of points of the second set.
        num_projections: number of directions.
    """

    value: float
    standard_error: float
    num: int
    other_num: int
    num_projections: int


def _transport_plan(num: int, other_num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The optimal plan between sorted points of equal weight: both ranks and the mass moved.

    Both quantile functions are constant between neighbouring multiples of `1 / N` and `1 / M`;
    whole numbers of `1 / (N M)` make the breaks exact.
    """
    breaks = np.union1d(np.arange(num + 1) * other_num, np.arange(other_num + 1) * num)
    return breaks[:-1] // other_num, breaks[:-1] // num, np.diff(breaks) / (num * other_num)


def _sorted_along(directions: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Sorted projections of points `[N, D]` on directions `[K, D]`, `[K, N]`."""
    blocks = [directions @ block.T for _, block in row_blocks(x, len(directions))]
    return np.sort(np.concatenate(blocks, axis=1), axis=1)


def sliced_wasserstein(
    seed: int, x: ArrayLike, y: ArrayLike, *, num_projections: int
) -> SlicedWasserstein:
    """Estimate the sliced 2-Wasserstein distance of two sets of points of any sizes.

    `SW_2^2 = E_u W_2^2(u . x, u . y)` over directions `u` uniform on the unit sphere, each
    one-dimensional transport solved exactly by sorting. One seed gives one set of directions:
    keep it between evaluations, or the change of directions will read as progress. Two samples of
    one distribution are not at distance 0.

    Args:
        seed: of the directions, at least 0.
        x: points, `[N, D]`.
        y: points, `[M, D]`.
        num_projections: number of directions, at least 2 (one leaves no standard error).

    Returns:
        The distance, the root of the mean over directions, with its standard error and the sizes.

    Raises:
        ValueError: if num_projections is below 2, or a set is empty or not finite.

    Source:
        Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures".
    """
    if num_projections < 2:
        raise ValueError(f"num_projections: {num_projections}, expected at least 2")
    points = check_points("x", x, at_least=MIN_POINTS)
    others = check_points("y", y, at_least=MIN_POINTS)
    chex.assert_equal(points.shape[1], others.shape[1])
    rng = np.random.default_rng(seed)
    rank, other_rank, mass = _transport_plan(len(points), len(others))
    squares = np.empty(num_projections)
    for start in range(0, num_projections, _DIRECTIONS):
        num = min(_DIRECTIONS, num_projections - start)
        directions = rng.normal(size=(num, points.shape[1]))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        projected, other_projected = (_sorted_along(directions, z) for z in (points, others))
        moved = (projected[:, rank] - other_projected[:, other_rank]) ** 2
        squares[start : start + num] = moved @ mass
    value = float(np.sqrt(squares.mean()))
    error = float(squares.std(ddof=1)) / np.sqrt(num_projections)
    # The delta method: d sqrt(s) = ds / (2 sqrt(s)); equal sets have no error.
    standard_error = float(error / (2 * value)) if value > 0.0 else 0.0
    return SlicedWasserstein(value, standard_error, len(points), len(others), num_projections)
