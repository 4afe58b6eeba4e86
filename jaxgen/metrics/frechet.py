"""The Frechet distance between Gaussians fitted to two sets of features.

Its value depends on the features and on both sample sizes. Two samples of one distribution are `O(1
/ N)` apart, and more so in more dimensions: compare scores at equal sizes and features only, and
print the distance between training and test data, the floor, beside each.
"""

from typing import NamedTuple

import chex
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.data.text import counted
from jaxgen.metrics.points import as_pair, as_points

MIN_POINTS = 2
"""Of each set: one point has no covariance."""


class FrechetDistance(NamedTuple):
    """A squared Frechet distance and what it was measured from.

    Attributes:
        value: the squared distance, `mean_term + covariance_term`.
        mean_term: squared distance of the means.
        covariance_term: squared Bures distance of the covariances, at least 0.
        num: number of points of the first set.
        other_num: number of points of the second set.
        num_features: their dimension.
    """

    value: float
    mean_term: float
    covariance_term: float
    num: int
    other_num: int
    num_features: int


class Moments(NamedTuple):
    """Mean and covariance of some points; `merge_moments` adds those of further points.

    Attributes:
        num: number of points `N`.
        mean: `[D]`, float64.
        scatter: `sum_n (x_n - mean) (x_n - mean)^T`, `[D, D]`, float64.
    """

    num: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance, `scatter / (N - 1)`, `[D, D]`; it needs two points."""
        if self.num < 2:
            raise ValueError(f"covariance: {counted(self.num, 'point')}, expected at least 2")
        return self.scatter / (self.num - 1)


def moments(features: ArrayLike) -> Moments:
    """Compute the mean and the scatter about it, in two passes and float64.

    `E[x x^T] - mean mean^T` in float32 would cancel where the mean is large.

    Args:
        features: `[N, D]`, at least one row.

    Returns:
        The moments.

    Raises:
        ValueError: if there is no row, or a value is not finite.
    """
    x = as_points("features", features, at_least=1)
    mean = x.mean(axis=0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred)


def merge_moments(first: Moments, second: Moments) -> Moments:
    """Combine the moments of two chunks into those of their union.

    `scatter = scatter_1 + scatter_2 + (N_1 N_2 / N) d d^T` with `d = mean_2 - mean_1`, so features
    that do not fit in memory may be reduced in chunks of any size.

    Args:
        first: moments of some points, `[D]` and `[D, D]`.
        second: moments of other points.

    Returns:
        The moments of all of them.

    Source:
        Chan et al. 1983, "Algorithms for Computing the Sample Variance: Analysis and
        Recommendations" (the update by pairs).
    """
    chex.assert_equal_shape([first.mean, second.mean])
    num = first.num + second.num
    difference = second.mean - first.mean
    between = first.num * second.num / num * np.outer(difference, difference)
    mean = first.mean + second.num / num * difference
    return Moments(num, mean, first.scatter + second.scatter + between)


def _square_root(name: str, covariance: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance; rounding may have made null eigenvalues negative."""
    scale = np.abs(covariance).max(initial=0.0)
    if not np.allclose(covariance, covariance.T, rtol=0.0, atol=1e-8 * scale):
        raise ValueError(f"{name}: not symmetric, expected a covariance")
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    largest = max(values[-1], 0.0)
    if values[0] < -1e-6 * largest or (largest == 0.0 and values[0] < 0.0):
        raise ValueError(f"{name}: an eigenvalue is {values[0]:.3g}, expected none below 0")
    # Without the cut, noise of 1e-16 in a null eigenvalue would come back as 1e-8 in the root.
    values = np.where(values > len(values) * np.finfo(float).eps * largest, values, 0.0)
    return (vectors * np.sqrt(values)) @ vectors.T


def _covariance_factor(centred: np.ndarray) -> np.ndarray:
    """A matrix `A [min(N, D), D]` with `A^T A` the covariance of centred points `[N, D]`."""
    num, dim = centred.shape
    factor = centred if num <= dim else np.linalg.qr(centred, mode="r")
    return factor / np.sqrt(num - 1)


def _bures(factor: np.ndarray, other: np.ndarray) -> float:
    """The squared Bures distance of the covariances `A^T A` and `B^T B`.

    The singular values of `A B^T` are the roots of the eigenvalues of the product of the
    covariances: no `[D, D]` matrix is needed, and no digit is lost by squares.
    """
    overlap = np.linalg.svd(factor @ other.T, compute_uv=False).sum()
    return max(float(np.sum(factor**2) + np.sum(other**2) - 2 * overlap), 0.0)


def frechet_distance_of_gaussians(
    mean: ArrayLike, covariance: ArrayLike, other_mean: ArrayLike, other_covariance: ArrayLike
) -> float:
    """Compute the squared Frechet (2-Wasserstein) distance of two Gaussians.

    `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^(1/2) S2 S1^(1/2))^(1/2))`. Only symmetric matrices are
    decomposed, so singular covariances (fewer points than features) are fine.

    Args:
        mean: `[D]`.
        covariance: symmetric, no eigenvalue below 0, `[D, D]`.
        other_mean: `[D]`.
        other_covariance: symmetric, no eigenvalue below 0, `[D, D]`.

    Returns:
        The squared distance, at least 0, in squared units of the features.

    Raises:
        ValueError: if a matrix is not a covariance.

    Source:
        Dowson & Landau 1982, "The Fréchet Distance between Multivariate Normal Distributions";
        Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a
        Local Nash Equilibrium", equation 6 (as a score of samples).
    """
    m1, s1, m2, s2 = (
        np.asarray(value, np.float64) for value in (mean, covariance, other_mean, other_covariance)
    )
    chex.assert_rank([m1, m2], 1)
    chex.assert_shape([s1, s2], (len(m1), len(m1)))
    chex.assert_equal_shape([m1, m2])
    root, other_root = _square_root("covariance", s1), _square_root("other_covariance", s2)
    return float(np.sum((m1 - m2) ** 2)) + _bures(root, other_root)


def frechet_distance(features: ArrayLike, other: ArrayLike) -> FrechetDistance:
    """Compute the squared Frechet distance of the Gaussians fitted to two sets of features.

    Covariances are unbiased (divided by `N - 1`). The distance is symmetric in its arguments. Where
    points are fewer than features their inner products do: the time is that of the smaller number.

    Args:
        features: `[N, D]`, N at least 2.
        other: `[M, D]`, M at least 2.

    Returns:
        The squared distance with its two terms and the sample sizes.

    Raises:
        ValueError: if a set has fewer than 2 points or a value that is not finite.

    Source:
        Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium", equation 6.
    """
    x, y = as_pair("features", features, "other", other, at_least=MIN_POINTS)
    mean, other_mean = x.mean(axis=0), y.mean(axis=0)
    mean_term = float(np.sum((mean - other_mean) ** 2))
    covariance_term = _bures(_covariance_factor(x - mean), _covariance_factor(y - other_mean))
    return FrechetDistance(
        mean_term + covariance_term, mean_term, covariance_term, len(x), len(y), x.shape[1]
    )
