"""How well a score separates two sets: the area under the ROC curve, and histograms to look at."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

MIN_SCORES = 2
"""Of each set: a single one leaves no standard error."""


class Auroc(NamedTuple):
    """The area under the ROC curve and what it was measured from.

    Attributes:
        value: 0.5 for scores that separate nothing, 1 where every score of the other set is larger.
        standard_error: of the value, over draws of both sets; 0 where the sets do not overlap.
        num: number of scores of the first set.
        other_num: number of scores of the other set.
    """

    value: float
    standard_error: float
    num: int
    other_num: int


class Histograms(NamedTuple):
    """Counts of several sets in the same bins.

    Attributes:
        edges: of the bins, `[M + 1]`.
        counts: name to the number of scores in each bin, `[M]`; the first and the last hold also
            what lies beyond them.
    """

    edges: np.ndarray
    counts: dict[str, np.ndarray]


def auroc(scores: ArrayLike, other: ArrayLike) -> Auroc:
    """Estimates the probability that a score of the other set is the larger one.

    `P(other > scores) + P(other = scores) / 2`, over all pairs: the Mann-Whitney statistic, exact
    also for ties. The standard error is that of its placements.

    Args:
        scores: `[N]`, N at least 2; infinite ones are compared as such.
        other: `[M]`, M at least 2, of what is to be told by large scores.

    Returns:
        The area with its standard error and the sample sizes.

    Raises:
        ValueError: if a set has fewer than 2 scores or a NaN.

    Source:
        DeLong et al. 1988, "Comparing the areas under two or more correlated receiver operating
        characteristic curves: a nonparametric approach".
    """
    x, y = _checked("scores", scores), _checked("other", other)
    below = _share_below(y, x)  # Of each score of the other set, how much of the first it exceeds.
    above = 1.0 - _share_below(x, y)
    variance = np.var(below, ddof=1) / len(y) + np.var(above, ddof=1) / len(x)
    return Auroc(float(below.mean()), math.sqrt(variance), len(x), len(y))


def _checked(name: str, scores: ArrayLike) -> np.ndarray:
    """Scores as float64 `[N]`, or ValueError."""
    array = np.asarray(scores, np.float64)
    if array.ndim != 1 or len(array) < MIN_SCORES:
        raise ValueError(f"{name}: shape {array.shape}, expected [N] with N at least {MIN_SCORES}")
    if np.isnan(array).any():
        raise ValueError(f"{name}: {int(np.isnan(array).sum())} NaN, expected numbers")
    return array


def _share_below(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The share of the reference below each value, `[N]`; a tie counts half."""
    ordered = np.sort(reference)
    less, at_most = (np.searchsorted(ordered, x, side=side) for side in ("left", "right"))
    return (less + at_most) / (2.0 * len(reference))


def shared_histograms(
    sets: Mapping[str, ArrayLike], *, num_bins: int = 50, reach: float = 8.0
) -> Histograms:
    """Counts the scores of several sets in the same bins, which are fine enough for the first set.

    Args:
        sets: name to scores `[N]`, at least one set, with finite scores.
        num_bins: at least 1.
        reach: how far the bins go beyond the quartiles of the first set, in its interquartile
            ranges, at least 0; bins for all scores, some of them far, could leave that set in one.

    Returns:
        The edges and the counts, each of which sums to the size of its set.

    Raises:
        ValueError: if there is no set, a score is not finite, or a setting is out of its range.
    """
    if num_bins < 1 or not reach >= 0.0:
        raise ValueError(f"num_bins, reach: {num_bins} and {reach}, expected at least 1 and 0")
    arrays = {name: np.asarray(scores, np.float64) for name, scores in sets.items()}
    if not arrays or not all(len(x) and np.isfinite(x).all() for x in arrays.values()):
        raise ValueError(f"sets: {list(arrays)}, expected one or more of finite scores")
    first, third = np.quantile(next(iter(arrays.values())), (0.25, 0.75))
    margin = reach * (third - first)
    low = max(first - margin, min(x.min() for x in arrays.values()))
    high = min(third + margin, max(x.max() for x in arrays.values()))
    edges = np.histogram_bin_edges([], bins=num_bins, range=(low, high))
    counts = {
        name: np.histogram(np.clip(x, edges[0], edges[-1]), bins=edges)[0]
        for name, x in arrays.items()
    }
    return Histograms(edges, counts)
