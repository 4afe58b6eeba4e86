"""Calibration: whether answers that are given with probability .8 are right in 8 of 10 cases."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgen.metrics.classification import checked_posterior

NUM_BINS = 15
"""Bins of the confidence, as in the paper that made the number known."""


class Reliability(NamedTuple):
    """Confidence beside accuracy, in bins of equal width that hold at least one example, `[M]`.

    Attributes:
        expected_error: `sum_m n_m / N |accuracy_m - confidence_m|`, 0 for perfect calibration. In
            small samples it is above 0 by chance.
        confidence: mean probability of the answer.
        accuracy: share of right answers.
        chance_error: standard error of the accuracy if calibration were perfect.
        num: number of examples.
    """

    expected_error: float
    confidence: np.ndarray
    accuracy: np.ndarray
    chance_error: np.ndarray
    num: np.ndarray


def reliability_curve(
    log_posterior: ArrayLike, label: ArrayLike, *, num_bins: int = NUM_BINS
) -> Reliability:
    """Compares the confidence of answers with how often they are right.

    Args:
        log_posterior: `ln p(y|x)`, `[N, K]`, normalised.
        label: integers `[N]`, 0 to K - 1.
        num_bins: of the confidence from 0 to 1, at least 1.

    Returns:
        The reliability curve and the expected calibration error.

    Raises:
        ValueError: if the arguments are not as above.

    Source:
        Guo et al. 2017, "On calibration of modern neural networks"; Bröcker & Smith 2007,
        "Increasing the reliability of reliability diagrams", of the error by chance.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins: {num_bins}, expected at least 1")
    log_posterior, label = checked_posterior(log_posterior, label)
    confidence = np.exp(log_posterior.max(axis=1))
    is_right = log_posterior.argmax(axis=1) == label
    # A bin holds its upper end: answers with probability 1 belong to the last.
    place = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    kept = count > 0
    count = count[kept]
    spread = confidence * (1.0 - confidence)
    mean_confidence, accuracy, variance = (
        np.bincount(place, weights=values, minlength=num_bins)[kept] / count
        for values in (confidence, is_right.astype(np.float64), spread)
    )
    return Reliability(
        expected_error=float(np.sum(count * np.abs(accuracy - mean_confidence)) / len(label)),
        confidence=mean_confidence,
        accuracy=accuracy,
        chance_error=np.sqrt(variance / count),
        num=count,
    )
