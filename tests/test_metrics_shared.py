"""What every metric shares: arguments, plain numbers, one score twice, and a corruption ladder."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets

from jaxgen import metrics


def sliced(x, y):
    return metrics.sliced_wasserstein(0, x, y, num_projections=50)


def copying(x, y):
    return metrics.data_copying(x, y, y[:, ::-1])


def modes(x, y):
    return metrics.count_modes(x, y, 0.5)


EVERY = {
    "frechet": metrics.frechet_distance,
    "kernel": metrics.kernel_distance,
    "sliced": sliced,
    "coverage": metrics.precision_recall_density_coverage,
    "copying": copying,
    "modes": modes,
}
each_metric = pytest.mark.parametrize("metric", EVERY.values(), ids=EVERY)


def pair(dtype=np.float64):
    x, y = np.random.default_rng(0).normal(size=(2, 30, 4))
    return x.astype(dtype), y.astype(dtype)


@each_metric
def test_results_are_plain_numbers_and_the_same_twice(metric):
    """Trap 31: a second evaluation of the same samples is the same score."""
    result = metric(*pair())
    assert {type(value) for value in result} <= {int, float}
    assert all(np.isfinite(result))
    assert metric(*pair()) == result


@each_metric
def test_jax_arrays_are_computed_in_float64(metric):
    x, y = pair(np.float32)
    assert metric(jnp.asarray(x), jnp.asarray(y)) == metric(x.astype(float), y.astype(float))


@each_metric
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(metric, value):
    """Trap 24: one such value must not become a score."""
    for index in (0, 1):
        arrays = [np.array(x) for x in pair()]
        arrays[index][3, 2] = value
        with pytest.raises(ValueError, match="1 of 30 rows are not finite"):
            metric(*arrays)


@each_metric
def test_shapes_are_checked(metric):
    x, y = pair()
    with pytest.raises(AssertionError):
        metric(x[None], y)
    with pytest.raises(AssertionError):
        metric(x, y[:, :3])


def test_every_metric_is_ordered_on_a_corruption_ladder():
    """Trap 33: sparse, non-Gaussian features (rectified projections of digits), more noise."""
    rng = np.random.default_rng(1)
    images = rng.permutation(datasets.load_digits().data / 16)[:1600]
    weights = rng.normal(size=(64, 32)) / 8
    real, test = images[:800], images[800:]
    noise = rng.normal(size=test.shape)

    def features(x):
        return np.maximum(x @ weights, 0.0)

    ladder = [features(test + std * noise) for std in (0.0, 0.2, 0.4, 0.8)]
    reals = features(real)
    for metric in (metrics.frechet_distance, metrics.kernel_distance, sliced):
        values = [metric(reals, fakes).value for fakes in ladder]
        assert values == sorted(values) and values[-1] > 5 * abs(values[0])
    panels = [metrics.precision_recall_density_coverage(reals, fakes) for fakes in ladder]
    for name in ("precision", "density", "coverage"):
        values = [getattr(panel, name) for panel in panels]
        assert values == sorted(values, reverse=True), name
    shares = [metrics.data_copying(fakes, reals, ladder[0]).share_nearer for fakes in ladder]
    assert shares == sorted(shares, reverse=True) and shares[0] == 0.5


def test_importing_metrics_leaves_scikit_learn_alone():
    code = "import sys, jaxgen.metrics; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
