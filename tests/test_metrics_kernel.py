"""The kernel distance: pair by pair, its expectation for two laws, and its standard error."""

import numpy as np
import pytest
import references
from sklearn.metrics import pairwise

from jaxgen import metrics
from jaxgen.metrics import kernel


def repeated(num, other_num, dim, shift, repeats):
    """Values and standard errors of independent draws."""
    rng = np.random.default_rng(0)
    draws = (
        metrics.kernel_distance(
            rng.normal(size=(num, dim)), shift + rng.normal(size=(other_num, dim))
        )
        for _ in range(repeats)
    )
    return np.array([(result.value, result.standard_error) for result in draws]).T


@pytest.mark.parametrize("rows", [2, 5, 1024])
def test_value_equals_all_pairs_whatever_the_blocks(monkeypatch, rows):
    monkeypatch.setattr(kernel, "_ROWS", rows)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(11, 3)), 1 + rng.normal(size=(8, 3))
    result = metrics.kernel_distance(x, y)
    assert result.value == pytest.approx(references.kernel_distance(x, y), rel=1e-11)
    assert (result.num, result.other_num, result.num_features) == (11, 8, 3)
    swapped = metrics.kernel_distance(y, x)
    assert swapped.value == pytest.approx(result.value, rel=1e-12)
    assert swapped.standard_error == pytest.approx(result.standard_error, rel=1e-12)


def test_kernel_equals_scikit_learn():
    x, y = np.random.default_rng(2).normal(size=(2, 9, 4))
    ((_, matrix),) = kernel._row_blocks(x, y)
    expected = pairwise.polynomial_kernel(x, y, degree=3, gamma=1 / 4, coef0=1)
    np.testing.assert_allclose(matrix, expected, rtol=1e-12)


def test_expectation_is_zero_for_equal_laws():
    """And at unequal, small sizes, where the Frechet distance is far from 0; some are negative."""
    values, _ = repeated(20, 35, 5, 0.0, 800)
    assert abs(values.mean()) / (values.std() / np.sqrt(800)) < 5
    assert 0.3 < np.mean(values < 0) < 0.8


def test_expectation_of_a_shifted_normal():
    """For one dimension, `E (x y + 1)^3` has a polynomial in the moments of both laws."""
    shift = 0.7
    moments = [np.array([1.0, m, 1 + m**2, m**3 + 3 * m]) for m in (0.0, shift)]
    binomial = np.array([1, 3, 3, 1])
    expected = np.sum(binomial * (moments[0] - moments[1]) ** 2)
    values, _ = repeated(60, 40, 1, shift, 500)
    assert abs(values.mean() - expected) / (values.std() / np.sqrt(500)) < 5


@pytest.mark.parametrize(("shift", "ratio"), [(0.0, (0.9, 1.4)), (0.4, (0.85, 1.15))])
def test_standard_error_is_the_spread_of_repeated_draws(shift, ratio):
    """For equal laws the first order, which is cut at 0, makes it somewhat too large."""
    values, errors = repeated(150, 100, 8, shift, 300)
    low, high = ratio
    assert low < np.sqrt(np.mean(errors**2)) / values.std() < high
    if shift == 0.0:  # never less than the second order, which is then all there is
        assert 0.75 < errors.min() / values.std() < 1.1


def test_it_grows_with_the_shift_and_is_reproducible():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 200, 6))
    values = [metrics.kernel_distance(x, y + shift).value for shift in (0.0, 0.5, 1.0, 2.0)]
    assert values == sorted(values)
    assert metrics.kernel_distance(x, y) == metrics.kernel_distance(x, y)


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="other: 2 points, expected at least 3"):
        metrics.kernel_distance(np.zeros((5, 2)), np.zeros((2, 2)))
