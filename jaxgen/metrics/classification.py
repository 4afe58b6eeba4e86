"""Classes by Bayes' rule from the likelihoods of a generative model, and how good such answers are.

Scores come as one value for each example, `[N]`; `jaxgen.training.evaluation.summarize` gives their
means with standard errors: the accuracy is that of `correct`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_SLACK = 1e-4  # Of the sum of a row of probabilities: networks give them in float32.


class ClassificationScores(NamedTuple):
    """How good the probabilities of classes are, one value for each example, `[N]`.

    Attributes:
        correct: 1 where the most probable class is the true one, else 0.
        log_loss: `-ln p(y|x)` of the true class, in nats.
        brier: `sum_k (p(k|x) - [k = y])^2`, 0 to 2.
        lead: by how many nats the most probable class is ahead of the second, at least 0.
    """

    correct: np.ndarray
    log_loss: np.ndarray
    brier: np.ndarray
    lead: np.ndarray


def bayes_posterior(log_likelihood: ArrayLike, log_prior: ArrayLike) -> np.ndarray:
    """Computes the probabilities of the classes by Bayes' rule, in float64.

    `ln p(y|x) = ln p(x|y) + ln p(y) - ln sum_k p(x|k) p(k)`. Likelihoods of images are thousands of
    nats and those of their classes differ by a few: sums in half precision would lose them.

    Args:
        log_likelihood: `ln p(x|y)` of every class, `[N, K]`, in nats.
        log_prior: `ln p(y)`, `[K]`; need not be normalised.

    Returns:
        `ln p(y|x)`, `[N, K]`.

    Raises:
        ValueError: if the shapes do not fit, or a value is NaN or plus infinity.
    """
    log_likelihood = np.asarray(log_likelihood, np.float64)
    log_prior = np.asarray(log_prior, np.float64)
    if log_likelihood.ndim != 2 or log_prior.shape != log_likelihood.shape[1:]:
        raise ValueError(
            f"log_likelihood, log_prior: {log_likelihood.shape} and {log_prior.shape}, "
            "expected [N, K] and [K]"
        )
    joint = log_likelihood + log_prior
    if not np.all(joint < np.inf):
        raise ValueError("log_likelihood: NaN or infinite values, expected numbers below infinity")
    return joint - log_evidence(log_likelihood, log_prior)[:, None]


def log_evidence(log_likelihood: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Sums a class-conditional density over the classes: `ln p(x) = ln sum_y p(x|y) p(y)`.

    Args:
        log_likelihood: `ln p(x|y)`, `[N, K]`, in nats, for every example finite under some class.
        log_prior: `ln p(y)`, `[K]`.

    Returns:
        float64 `[N]`, in nats.
    """
    joint = np.asarray(log_likelihood, np.float64) + np.asarray(log_prior, np.float64)
    return np.logaddexp.reduce(joint, axis=1)


def classification_scores(log_posterior: ArrayLike, label: ArrayLike) -> ClassificationScores:
    """Scores probabilities of classes against the true ones.

    Args:
        log_posterior: `ln p(y|x)`, `[N, K]`, normalised, K at least 2.
        label: integers `[N]`, 0 to K - 1.

    Returns:
        The scores, float64 `[N]` each.

    Raises:
        ValueError: if the shapes do not fit, a label is none of the classes, or probabilities do
            not sum to 1.

    Source:
        Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    log_posterior, label = checked_posterior(log_posterior, label)
    rows = np.arange(len(label))
    ordered = np.sort(log_posterior, axis=1)
    hits = np.eye(log_posterior.shape[1])[label]
    return ClassificationScores(
        correct=(log_posterior.argmax(axis=1) == label).astype(np.float64),
        log_loss=-log_posterior[rows, label],
        brier=np.sum((np.exp(log_posterior) - hits) ** 2, axis=1),
        lead=ordered[:, -1] - ordered[:, -2],
    )


def checked_posterior(log_posterior: ArrayLike, label: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Refuses what are no probabilities of classes beside true ones.

    Args:
        log_posterior: `ln p(y|x)`, `[N, K]`, normalised, N at least 1, K at least 2.
        label: integers `[N]`, 0 to K - 1.

    Returns:
        Both as arrays, float64 and integers.

    Raises:
        ValueError: if they are not as above.
    """
    log_posterior, label = np.asarray(log_posterior, np.float64), np.asarray(label)
    if log_posterior.ndim != 2 or not len(log_posterior) or log_posterior.shape[1] < 2:
        raise ValueError(f"log_posterior: shape {log_posterior.shape}, expected [N, K], K >= 2")
    if label.shape != log_posterior.shape[:1] or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(
            f"label: {label.dtype} {label.shape}, expected {len(log_posterior)} integers"
        )
    if label.min() < 0 or label.max() >= log_posterior.shape[1]:
        raise ValueError(
            f"label: {label.min()} to {label.max()}, expected 0 to {log_posterior.shape[1] - 1}"
        )
    total = np.exp(log_posterior).sum(axis=1)
    if not np.all(np.abs(total - 1.0) < _SLACK):
        raise ValueError("log_posterior: probabilities that do not sum to 1, expected normalised")
    return log_posterior, label


def lead_standard_error(log_likelihoods: ArrayLike, log_prior: ArrayLike) -> np.ndarray:
    """Estimates how far noise in the likelihoods moves the lead of the best class over the second.

    A bound that draws noise is evaluated several times, each time with the same noise for all
    classes: what moves all of them alike cancels in the difference. Which two classes lead is
    decided by the mean.

    Args:
        log_likelihoods: `ln p(x|y)` under R draws of the noise, `[R, N, K]`, in nats; R at least 2.
        log_prior: `ln p(y)`, `[K]`.

    Returns:
        The standard error of the mean difference of each example, float64 `[N]`, in nats.

    Raises:
        ValueError: if there are fewer than two draws, or two classes.
    """
    joint = np.asarray(log_likelihoods, np.float64) + np.asarray(log_prior, np.float64)
    if joint.ndim != 3 or joint.shape[0] < 2 or joint.shape[2] < 2:
        raise ValueError(
            f"log_likelihoods: shape {joint.shape}, expected [R, N, K] with R and K of 2 or more"
        )
    best = np.argsort(joint.mean(axis=0), axis=1)[:, -2:]
    second, first = np.moveaxis(np.take_along_axis(joint, best[None], axis=2), 2, 0)
    return np.std(first - second, axis=0, ddof=1) / np.sqrt(len(joint))
