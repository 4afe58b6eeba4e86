"""The Frechet distance: closed forms, singular covariances, chunks, and the noise of equal laws."""

import numpy as np
import pytest
import references

from jaxgen import metrics


def law(seed, dim):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(dim, dim))
    return rng.normal(size=dim), factor @ factor.T


def power_law(dim):
    """Eigenvalues 1 / k, total variance 1: the law behind the published table of noise."""
    eigenvalues = 1.0 / np.arange(1, dim + 1)
    return eigenvalues / eigenvalues.sum()


def test_gaussians_equal_the_root_of_the_product():
    first, second = law(0, 6), law(1, 6)
    value = metrics.frechet_distance_of_gaussians(*first, *second)
    assert value == pytest.approx(references.frechet_distance(*first, *second), rel=1e-9)
    assert value == pytest.approx(metrics.frechet_distance_of_gaussians(*second, *first), rel=1e-12)


def test_commuting_covariances_have_a_closed_form():
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    stds, others = rng.uniform(0.0, 3.0, (2, 5))
    stds[0] = others[0] = others[1] = 0.0
    shift = rng.normal(size=5)
    value = metrics.frechet_distance_of_gaussians(
        shift, (basis * stds**2) @ basis.T, np.zeros(5), (basis * others**2) @ basis.T
    )
    assert value == pytest.approx(np.sum(shift**2) + np.sum((stds - others) ** 2), rel=1e-10)


def test_rank_one_covariances_have_a_closed_form():
    """`|a|^2 + |b|^2 - 2 |a . b|`: both are singular, and so is their product."""
    a, b = np.random.default_rng(3).normal(size=(2, 50))
    zero = np.zeros(50)
    value = metrics.frechet_distance_of_gaussians(zero, np.outer(a, a), zero, np.outer(b, b))
    assert value == pytest.approx(a @ a + b @ b - 2 * abs(a @ b), rel=1e-10)


def test_features_equal_numpy_covariances():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 5)), 1 + rng.normal(size=(30, 5)) @ rng.normal(size=(5, 5))
    result = metrics.frechet_distance(x, y)
    fitted = (x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert result.value == pytest.approx(references.frechet_distance(*fitted), rel=1e-9)
    assert result.value == result.mean_term + result.covariance_term
    assert (result.num, result.other_num, result.num_features) == (40, 30, 5)


def test_fewer_points_than_features_stay_exact():
    """Trap 29: N < D. Rotations and shifts of both sets change nothing; equal sets are at 0."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(10, 40)), rng.normal(size=(12, 40))
    value = metrics.frechet_distance(x, y).value
    assert np.isfinite(value) and value > 0
    basis, shift = np.linalg.qr(rng.normal(size=(40, 40)))[0], rng.normal(size=40)
    moved = metrics.frechet_distance(x @ basis + shift, y @ basis + shift).value
    assert moved == pytest.approx(value, rel=1e-9)
    assert metrics.frechet_distance(x, x[::-1]).value < 1e-11
    # In the span of all points, where no more than the null space is left out, nothing changes.
    span = np.linalg.svd(np.concatenate([x, y]), full_matrices=False)[2]
    assert metrics.frechet_distance(x @ span.T, y @ span.T).value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("chunk", [1, 7, 64, 100])
def test_moments_do_not_depend_on_chunks(chunk):
    """Trap 30: a large mean, a number of points that no chunk divides, float32 features."""
    x = (1e4 + np.random.default_rng(6).normal(size=(97, 4))).astype(np.float32)
    whole, merged = metrics.moments(x), metrics.moments(x[:chunk])
    for start in range(chunk, len(x), chunk):
        merged = metrics.merge_moments(merged, metrics.moments(x[start : start + chunk]))
    assert merged.num == whole.num == 97
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(merged.covariance, whole.covariance, atol=1e-9)
    np.testing.assert_allclose(whole.covariance, np.cov(x.astype(np.float64).T), atol=1e-9)
    naive = x.T @ x / len(x) - np.outer(x.mean(0), x.mean(0))
    assert np.abs(naive - whole.covariance).max() > 0.1  # what this guards against


@pytest.mark.parametrize(
    ("dim", "num", "published"), [(64, 500, 0.0391), (64, 1000, 0.0206), (128, 500, 0.069)]
)
def test_noise_of_equal_laws_equals_the_published_table(dim, num, published):
    """Trap 28. The table is one draw a cell, so it may differ by a few of its standard deviations.

    The first order in 1 / N leaves out a term of the second, hence the 5 %.
    """
    rng, eigenvalues = np.random.default_rng(7), power_law(dim)
    draws = rng.normal(size=(6, 2, num, dim)) * np.sqrt(eigenvalues)
    values = np.array([metrics.frechet_distance(x, y).value for x, y in draws])
    assert abs(published - values.mean()) < 5 * values.std(ddof=1)
    expected = references.frechet_noise(eigenvalues, num, num)
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - expected) < 5 * error + 0.05 * expected


def test_noise_falls_as_one_over_n():
    expected = references.frechet_noise(power_law(64), 10_000, 10_000)
    assert expected == pytest.approx(0.0020, abs=1e-4)
    rng, eigenvalues = np.random.default_rng(8), power_law(8)
    draws = rng.normal(size=(400, 2, 300, 8)) * np.sqrt(eigenvalues)
    values = np.array([metrics.frechet_distance(x, y[:150]).value for x, y in draws])
    z = (values.mean() - references.frechet_noise(eigenvalues, 300, 150)) / (values.std() / 20)
    assert abs(z) < 5


@pytest.mark.parametrize(
    ("covariance", "message"),
    [(np.array([[1.0, 2.0], [0.0, 1.0]]), "symmetric"), (np.diag([1.0, -0.1]), "below 0")],
)
def test_what_is_no_covariance_is_refused(covariance, message):
    zero = np.zeros(2)
    with pytest.raises(ValueError, match=message):
        metrics.frechet_distance_of_gaussians(zero, covariance, zero, np.eye(2))


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="features: 1 point, expected at least 2"):
        metrics.frechet_distance(np.zeros((1, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="features: 0 points"):
        metrics.moments(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="covariance: 1 point"):
        _ = metrics.moments(np.zeros((1, 2))).covariance
