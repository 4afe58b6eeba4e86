"""The classifier of the probe: multinomial logistic regression whose penalty is validated."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import threadpoolctl
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from experiments.probe.examples import Part
from jaxgen.data import balanced_indices

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Weights of half the squared norm beside the sum of the labelled examples' nats."""
UNVALIDATED = 0.1
"""The penalty where a class has too few labels to hold some out."""
_MAX_FOLDS = 3
_MAX_STEPS = 1000


class Accuracies(NamedTuple):
    """Test accuracies of one form of the examples by one number of labels.

    Attributes:
        num_labels: of each draw.
        values: of each draw, `[R]`.
        penalties: those that were chosen, `[R]`.
    """

    num_labels: int
    values: list[float]
    penalties: list[float]

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over the draws."""
        return float(np.std(self.values, ddof=1))

    @property
    def standard_error(self) -> float:
        """Of the mean over the draws."""
        return self.spread / float(np.sqrt(len(self.values)))


def probe(
    train: Part, test: Part, num_labels: Sequence[int], *, num_draws: int, seed: int
) -> dict[str, list[Accuracies]]:
    """Measures every form of the examples by every number of labels, on the same draws.

    Draw r has the seed ``seed + r``; within it fewer labels are a part of more.
    """
    results: dict[str, list[Accuracies]] = {name: [] for name in train.forms}
    for num in num_labels:
        draws = [balanced_indices(train.label, num, seed=seed + r) for r in range(num_draws)]
        for name, x in train.forms.items():
            # Matrices so small take many times as long where threads wait for one another.
            with threadpoolctl.threadpool_limits(1):
                fits = [fit(x[draw], train.label[draw]) for draw in draws]
            values = [float(np.mean(c.predict(test.forms[name]) == test.label)) for c in fits]
            penalties = [1.0 / c.C for c in fits]
            results[name].append(Accuracies(num, values, penalties))
    return results


def fit(x: np.ndarray, label: np.ndarray) -> LogisticRegression:
    """Fits the regression of the penalty that is best on held-out parts of the labelled examples.

    The best has the fewest nats in up to three folds, each with all classes; where a class has a
    single label there is nothing to hold out.

    Args:
        x: features, `[n, F]`.
        label: int `[n]`.

    Returns:
        The regression on all of them, whose `C` is one over the penalty.
    """
    num_folds = min(_MAX_FOLDS, int(np.unique(label, return_counts=True)[1].min()))
    if num_folds < 2:
        return _regression(UNVALIDATED).fit(x, label)
    nats = dict.fromkeys(PENALTIES, 0.0)
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=0)
    for kept, held_out in folds.split(x, label):
        for penalty in PENALTIES:
            fitted = _regression(penalty).fit(x[kept], label[kept])
            log_prob = fitted.predict_log_proba(x[held_out])
            places = np.searchsorted(fitted.classes_, label[held_out])
            nats[penalty] -= float(np.sum(log_prob[np.arange(len(places)), places]))
    return _regression(min(nats, key=lambda penalty: nats[penalty])).fit(x, label)


def _regression(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=1.0 / penalty, max_iter=_MAX_STEPS)
