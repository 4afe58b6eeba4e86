"""The density that a trained run has learned, as its evaluation gives it: of all, or by class."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bounds import Bound, best_bound
from experiments.measurement import EVALUATION_SEED
from experiments.ranges import require
from experiments.runs import Restored, Run, restore_run
from jaxgen import metrics
from jaxgen.data import ArraySplit, Dataset
from jaxgen.training.evaluation import evaluate, summarize


class Density(NamedTuple):
    """A trained run whose evaluation gives a likelihood.

    Attributes:
        run: by its settings.
        restored: what it has learned.
        bound: the tightest of its metrics.
    """

    run: Run
    restored: Restored
    bound: Bound

    @property
    def is_exact(self) -> bool:
        """Whether the likelihood is exact, and no bound."""
        return self.bound.kind == "exact"

    @property
    def is_conditional(self) -> bool:
        """Whether there is a density of each class."""
        return self.restored.method.is_conditional


class ClassPrior(NamedTuple):
    """The classes that were trained on, and how often they occurred.

    Attributes:
        classes: the labels, `[K]`.
        names: of the classes.
        frequency: share of the labelled train examples, `[K]`, above 0.
    """

    classes: np.ndarray
    names: tuple[str, ...]
    frequency: np.ndarray


def density_of(run: Run, evaluation: Any) -> Density:
    """Restores a run and finds its tightest likelihood, before anything is compiled.

    Args:
        run: by its settings.
        evaluation: settings in place of the run's own.

    Raises:
        ValueError: if the run gives no likelihood, cannot be restored, or has other settings.
        CheckpointError: if all checkpoints are damaged.
    """
    own, name = run.experiment, run.directory.path
    if not isinstance(evaluation, type(own.evaluation)):
        raise ValueError(
            f"run: {name}, of {own.name}, while another run stands before it, expected RUN as the "
            "first run of the line"
        )
    # Nothing is sampled, and what guides samples to classes is no density of a class.
    restored = restore_run(run, sampling=own.sampling, evaluation=evaluation)
    batch = {"x": jax.ShapeDtypeStruct((1, *run.info.shape), run.info.dtype)}
    if restored.method.is_conditional:
        batch["label"] = jax.ShapeDtypeStruct((1,), jnp.int32)
    algorithm, key = restored.method.algorithm, jax.random.key(0)
    names = list(jax.eval_shape(algorithm.evaluate, restored.state, batch, key))
    bound = best_bound(names)
    if bound is None:
        raise ValueError(
            f"run: {name}, whose evaluation gives {', '.join(names) or 'nothing'}, expected a "
            f"likelihood or a bound of it, which {own.name} does not have; take a run of another "
            "family, such as a flow"
        )
    return Density(run, restored, bound)


def train_prior(dataset: Dataset) -> ClassPrior:
    """Counts the classes of the train examples; those without any are left out.

    Raises:
        ValueError: if there are fewer than two classes.
    """
    labels, names = dataset.train.labels(), dataset.class_names or ()
    counts = np.zeros(len(names), int)
    if labels is not None:
        counts = np.bincount(labels[labels >= 0], minlength=len(names))
    classes = np.flatnonzero(counts)
    require(len(classes) > 1, "dataset", f"{len(classes)} classes with train examples", "2 or more")
    shown = tuple(names[label] for label in classes)
    return ClassPrior(classes, shown, counts[classes] / counts.sum())


def class_log_likelihoods(
    density: Density, x: np.ndarray, classes: np.ndarray, *, draw: int = 0
) -> np.ndarray:
    """Evaluates every example under every class, with the same noise under all of them.

    Args:
        density: of a class-conditional run.
        x: examples `[N, ...]`.
        classes: labels `[K]`.
        draw: number of the noise, from 0.

    Returns:
        `ln p(x|y)` or its bound in nats, float64 `[N, K]`.

    Raises:
        NonFiniteMetricError: if one is not finite.
    """
    columns = [_evaluated(density, x, draw, label) for label in classes]
    return np.stack(columns, axis=1)


def log_likelihoods(density: Density, x: np.ndarray, prior: ClassPrior | None) -> np.ndarray:
    """Evaluates the density of examples, of a class-conditional run summed over the classes.

    Args:
        density: of any run.
        x: examples `[N, ...]`.
        prior: of the classes; None for a run without.

    Returns:
        `ln p(x)` or its bound in nats, float64 `[N]`.

    Raises:
        NonFiniteMetricError: if one is not finite.
    """
    if prior is None:
        return _evaluated(density, x, 0, None)
    by_class = class_log_likelihoods(density, x, prior.classes)
    return metrics.log_evidence(by_class, np.log(prior.frequency))


def _evaluated(density: Density, x: np.ndarray, draw: int, label: int | None) -> np.ndarray:
    """The log-likelihood in nats, `[N]`; the noise hangs on the draw and the example's number."""
    arrays = {"x": x}
    if label is not None:
        arrays["label"] = np.full(len(x), label, np.int32)
    # The first draw has the noise of `experiments.evaluate`.
    key = jax.random.key(EVALUATION_SEED + draw)
    algorithm, state = density.restored.method.algorithm, density.restored.state
    name = density.bound.name
    values = {name: evaluate(algorithm, state, ArraySplit(arrays), key)[name]}
    summarize(values)
    return -values[name].astype(np.float64) * (x[0].size * math.log(2.0))
