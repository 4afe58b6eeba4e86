"""How many modes of a known distribution a sampler finds, and how evenly.

A finite sample of the distribution itself has a divergence above 0 and a share of good samples
below 1. A score better than these floors and ceilings is a fault of the sampler or of the
measurement.
"""

import math
from typing import NamedTuple

import chex
import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.memorization import nearest_neighbors
from jaxgen.metrics.points import as_pair

GOOD_RADIUS = 3.0
"""A point is good, and finds its mode, if it lies within this many standard deviations of it."""


class ModeCounts(NamedTuple):
    """Modes of a mixture of equal Gaussians that points found.

    Attributes:
        num_found: modes with at least one good point.
        good_share: share of points within 3 standard deviations of a mode.
        kl: divergence of the good points' modes from uniform, in nats; NaN if none is good.
        perfect_good_share: expected good_share of points of the mixture itself.
        perfect_kl: expected kl of as many points of the mixture itself.
        num_modes: number of modes.
        num: number of points.
    """

    num_found: int
    good_share: float
    kl: float
    perfect_good_share: float
    perfect_kl: float
    num_modes: int
    num: int


class StackedModeCounts(NamedTuple):
    """Combinations of digits that stacked images show.

    Attributes:
        num_found: combinations that occur at least once.
        kl: divergence of their histogram from the distribution, in nats; infinite if one occurs
            that has no mass.
        perfect_kl: expected kl of as many draws from the distribution itself.
        num_modes: number of combinations with mass under the distribution.
        num: number of images.
    """

    num_found: int
    kl: float
    perfect_kl: float
    num_modes: int
    num: int


def _kl(counts: np.ndarray, distribution: np.ndarray) -> float:
    """The divergence of a histogram from a distribution, in nats; NaN if the histogram is empty."""
    if counts.sum() == 0:
        return math.nan
    seen = counts > 0
    if np.any(distribution[seen] == 0):
        return math.inf
    share = counts[seen] / counts.sum()
    return max(float(np.sum(share * np.log(share / distribution[seen]))), 0.0)


def _as_masses(name: str, distribution: ArrayLike) -> np.ndarray:
    """Check the masses of a distribution."""
    masses = np.asarray(distribution, np.float64)
    chex.assert_rank(masses, 1)
    if not np.all(masses >= 0) or not math.isclose(masses.sum(), 1.0, rel_tol=1e-6):
        raise ValueError(f"{name}: sum {masses.sum():.6g}, expected masses from 0 that sum to 1")
    return masses / masses.sum()


def expected_kl(num: int, sampled: ArrayLike, distribution: ArrayLike) -> float:
    """Compute the expected divergence of a histogram of independent draws from a distribution.

    `E sum_k (c_k / n) log(c_k / (n q_k))` with `c_k ~ Binomial(n, p_k)`, summed exactly (up to
    1e-12). For `p = q` it is near `(K - 1) / (2 n)` where every `n q_k` is large.

    Args:
        num: number of draws n, at least 1.
        sampled: masses p that are drawn from, `[K]`.
        distribution: masses q that the histogram is compared with, `[K]`.

    Returns:
        The expectation in nats; infinite if q lacks a mass that p has.

    Raises:
        ValueError: if num is below 1, or masses are below 0 or do not sum to 1.
    """
    from scipy import stats

    if num < 1:
        raise ValueError(f"num: {num}, expected at least 1")
    p, q = _as_masses("sampled", sampled), _as_masses("distribution", distribution)
    chex.assert_equal_shape([p, q])
    if np.any((p > 0) & (q == 0)):
        return math.inf
    total = 0.0
    masses, which = np.unique(p, return_inverse=True)
    for index, mass in enumerate(masses):
        if mass > 0:
            low, high = stats.binom.interval(1 - 1e-13, num, mass)
            count = np.arange(max(int(low), 1), int(high) + 1)
            weight = stats.binom.pmf(count, num, mass) * count / num
            members = which == index
            entropy = float(weight @ np.log(count / num))
            total += members.sum() * entropy - mass * float(np.sum(np.log(q[members])))
    return float(total)


def count_modes(points: ArrayLike, centres: ArrayLike, std: float) -> ModeCounts:
    """Count the modes of a mixture of equal, isotropic Gaussians that points found.

    A point belongs to its nearest centre and is good within 3 standard deviations of it. A mode is
    found by at least one good point. A perfect sampler has the share of good points of a chi-square
    distribution, `1 - exp(-4.5) = 98.89 %` in the plane: a sampler above it draws modes that are
    too tight.

    Args:
        points: `[N, D]`.
        centres: of the modes, `[K, D]`, at least 6 standard deviations apart for the expectations
            to be exact.
        std: standard deviation of each mode along each axis, above 0.

    Returns:
        Counts, shares and divergence beside those of a perfect sampler.

    Raises:
        ValueError: if std is not above 0, or a set is empty or not finite.

    Source:
        Srivastava et al. 2017, "VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational
        Learning" (modes and good samples within 3 standard deviations); Lin et al.
        2018, "PacGAN: The Power of Two Samples in Generative Adversarial Networks" (the
        divergence of the modes).
    """
    from scipy import stats

    if not std > 0.0:
        raise ValueError(f"std: {std}, expected above 0")
    x, modes = as_pair("points", points, "centres", centres)
    found = nearest_neighbors(x, modes)
    nearest = found.indices[:, 0]
    good = found.distances[:, 0] <= GOOD_RADIUS * std
    counts = np.bincount(nearest[good], minlength=len(modes))
    uniform = np.full(len(modes), 1.0 / len(modes))
    mass = float(stats.chi2.cdf(GOOD_RADIUS**2, x.shape[1]))
    return ModeCounts(
        num_found=int(np.count_nonzero(counts)),
        good_share=float(good.mean()),
        kl=_kl(counts, uniform),
        perfect_good_share=mass,
        perfect_kl=expected_kl(max(round(mass * len(x)), 1), uniform, uniform),
        num_modes=len(modes),
        num=len(x),
    )


def count_stacked_modes(
    digits: ArrayLike, *, num_classes: int = 10, distribution: ArrayLike | None = None
) -> StackedModeCounts:
    """Count the combinations of digits that stacked images show, one digit a channel.

    The combination `(a, b, c)` has the index `(a num_classes + b) num_classes + c`. What a
    classifier sees depends on the classifier: compare scores of one classifier only.

    Args:
        digits: predictions for each channel, integer `[N, 3]`, 0 to `num_classes - 1`; any other
            number of channels works as well.
        num_classes: number of digits, at least 2.
        distribution: mass of each combination, `[num_classes^3]`; uniform by default.

    Returns:
        Modes found and the divergence from the distribution beside those of a perfect sampler.

    Raises:
        ValueError: if num_classes is below 2, there is no image, a digit is out of range, or the
            distribution is none.

    Source:
        Metz et al. 2017, "Unrolled Generative Adversarial Networks", section 3.3.1 (modes and
        divergence of Stacked MNIST); Lin et al. 2018, "PacGAN: The Power of Two Samples in
        Generative Adversarial Networks" (26 000 samples).
    """
    values = np.asarray(digits)
    chex.assert_rank(values, 2)
    chex.assert_type(values, int)
    if num_classes < 2:
        raise ValueError(f"num_classes: {num_classes}, expected at least 2")
    if len(values) == 0:
        raise ValueError("digits: 0 images, expected at least 1")
    if values.min() < 0 or values.max() >= num_classes:
        raise ValueError(
            f"digits: {values.min()} to {values.max()}, expected 0 to {num_classes - 1}"
        )
    num_modes = num_classes ** values.shape[1]
    masses = (
        np.full(num_modes, 1.0 / num_modes)
        if distribution is None
        else _as_masses("distribution", distribution)
    )
    chex.assert_shape(masses, (num_modes,))
    index = np.ravel_multi_index(tuple(values.T), (num_classes,) * values.shape[1])
    counts = np.bincount(index, minlength=num_modes)
    return StackedModeCounts(
        num_found=int(np.count_nonzero(counts)),
        kl=_kl(counts, masses),
        perfect_kl=expected_kl(len(values), masses, masses),
        num_modes=int(np.count_nonzero(masses)),
        num=len(values),
    )
