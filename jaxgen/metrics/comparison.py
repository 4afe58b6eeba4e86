"""Samples beside test examples under every metric, with the floor of as many train examples."""

from typing import Any

import numpy as np

from jaxgen.metrics import coverage, frechet, kernel, sliced
from jaxgen.metrics.features import FeatureNet, features
from jaxgen.metrics.memorization import data_copying
from jaxgen.types import Array

_NUM_NEIGHBORS = 5
_NUM_PROJECTIONS = 256
_MIN_POINTS = {
    "Frechet distance of features": frechet.MIN_POINTS,
    "kernel distance of features": kernel.MIN_POINTS,
    "precision, recall, density and coverage": coverage.MIN_POINTS,
    "sliced Wasserstein distance of pixels": sliced.MIN_POINTS,
}


def left_out(num: int) -> list[str]:
    """What `compare_samples` cannot measure on so few examples.

    Args:
        num: number of samples, and of test examples beside them, at least 1.

    Returns:
        A line for each metric that is left out; none where all are measured.
    """
    return [
        f"{name}: {num} examples of each kind, expected at least {least}"
        for name, least in _MIN_POINTS.items()
        if num < least
    ]


def compare_samples(
    net: FeatureNet, samples: np.ndarray | Array, train: np.ndarray, test: np.ndarray
) -> dict[str, Any]:
    """Compares samples with test examples, and as many train examples with the same.

    Train examples in place of samples are what a perfect sampler would score: the floor of each
    number. Metrics that need more examples than there are, are left out; see `left_out`.

    Args:
        net: whose features are compared.
        samples: uint8 images or float vectors `[N, ...]`.
        train: `[M, ...]`, M at least N: the first N are the floor, all are searched for copies.
        test: `[N, ...]`.

    Returns:
        What JSON holds: "num", N; "metrics", of "samples" and of "train examples", name to number;
        "standard_errors" of those that have one, over draws of the examples; "data_copying", the
        fields of `DataCopying` for the samples.

    Raises:
        ValueError: if there are fewer train or test examples than samples.
    """
    num = len(samples)
    # Fewer have no metric of features, and a network of large images compiles for minutes.
    has_features = num >= min(frechet.MIN_POINTS, kernel.MIN_POINTS, coverage.MIN_POINTS)
    if len(train) < num or len(test) != num:
        raise ValueError(
            f"train, test: {len(train)} and {len(test)} examples, expected at least and just {num}"
        )
    known = features(net, test) if has_features else _no_features(num)
    columns = {"samples": np.asarray(samples), "train examples": train[:num]}
    values, errors = {}, {}
    for name, x in columns.items():
        found = features(net, x) if has_features else _no_features(num)
        values[name], errors[name] = _distances(found, known, x, test)
    copying = data_copying(*(_flat(x) for x in (columns["samples"], train, test)))
    return {
        "num": num,
        "metrics": values,
        "standard_errors": errors,
        "data_copying": copying._asdict(),
    }


def _no_features(num: int) -> np.ndarray:
    return np.empty((num, 0))


def _distances(
    found: np.ndarray, known: np.ndarray, x: np.ndarray, test: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """Every metric that so many examples allow, by name, and the standard errors that are known."""
    num, values, errors = len(x), {}, {}
    if num >= frechet.MIN_POINTS:
        distance = frechet.frechet_distance(found, known)
        values["Frechet distance of features"] = distance.value
    if num >= kernel.MIN_POINTS:
        name, estimate = "kernel distance of features", kernel.kernel_distance(found, known)
        values[name], errors[name] = estimate.value, estimate.standard_error
    if num >= coverage.MIN_POINTS:
        neighbors = min(_NUM_NEIGHBORS, num - 1)
        shares = coverage.precision_recall_density_coverage(known, found, num_neighbors=neighbors)
        for name in ("precision", "recall", "density", "coverage"):
            values[name] = getattr(shares, name)
    kind = "pixels" if x.ndim == 4 else "values"
    values[f"sliced Wasserstein distance of {kind}"] = sliced.sliced_wasserstein(
        0, _flat(x), _flat(test), num_projections=_NUM_PROJECTIONS
    ).value
    return values, errors


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)
