"""Precision, recall, density and coverage: all pairs, the values of equal laws, dropped modes."""

import numpy as np
import pytest
import references
import sklearn

from jaxgen import metrics

measure = metrics.precision_recall_density_coverage


@pytest.mark.parametrize("k", [1, 5])
def test_values_equal_all_pairs(k):
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(50, 3)), 0.5 + 1.3 * rng.normal(size=(37, 3))
    result = measure(real, fake, num_neighbors=k)
    expected = references.precision_recall_density_coverage(real, fake, k)
    np.testing.assert_allclose(result[:4], expected, rtol=1e-12)
    assert result[4:] == (50, 37, k)


def test_chunks_change_nothing():
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(400, 5)), rng.normal(size=(301, 5))
    whole = measure(real, fake)
    with sklearn.config_context(working_memory=1 / 32):  # MiB: about ten rows at a time
        assert measure(real, fake) == whole


def test_two_samples_of_one_law_have_known_expectations():
    """Trap 32: not 1. A ball of k neighbours holds k / (N + M - 1) of all others, whatever the law.

    So the density has expectation 1, and a real is covered unless an urn gives k reals.
    """
    rng = np.random.default_rng(2)
    draws = np.array(
        [
            measure(rng.normal(size=(30, 4)), rng.normal(size=(20, 4)), num_neighbors=3)[:4]
            for _ in range(300)
        ]
    )
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert abs(draws[:, 2].mean() - 1.0) / error[2] < 5
    expected = references.expected_coverage(30, 20, 3)
    assert expected == pytest.approx(1 - np.prod([(30 - i) / (50 - i) for i in (1, 2, 3)]))
    assert abs(draws[:, 3].mean() - expected) / error[3] < 5


def test_gaussians_of_1000_dimensions():
    """Trap 32: precision .48, density 1.06, coverage .97 were published for one large draw.

    Precision and recall fall with the number of points, here .6 at 800. The coverage of two
    samples has expectation .969 and the density 1, both with the noise of hubs.
    """
    rng = np.random.default_rng(3)
    result = measure(rng.normal(size=(800, 1000)), rng.normal(size=(800, 1000)))
    assert 0.4 < result.precision < 0.75 and 0.4 < result.recall < 0.75
    assert references.expected_coverage(800, 800, 5) == pytest.approx(0.969, abs=5e-4)
    assert result.coverage == pytest.approx(0.969, abs=0.03)
    assert result.density == pytest.approx(1.0, abs=0.25)


def test_what_each_value_sees():
    rng = np.random.default_rng(4)
    centres = np.repeat([[0.0], [100.0]], 200, axis=0)
    real = centres + rng.normal(size=(400, 2))
    one_mode = rng.normal(size=(400, 2))
    dropped = measure(real, one_mode)
    assert dropped.precision > 0.9 and dropped.coverage < 0.52 and dropped.recall < 0.52
    far = measure(real, real + 1000.0)
    assert far[:4] == (0.0, 0.0, 0.0, 0.0)
    assert measure(real, real)[:2] == (1.0, 1.0) and measure(real, real).coverage == 1.0


def test_swapping_the_sets_swaps_precision_and_recall():
    rng = np.random.default_rng(5)
    real, fake = rng.normal(size=(60, 3)), 1 + rng.normal(size=(40, 3))
    result, swapped = measure(real, fake), measure(fake, real)
    assert (result.precision, result.recall) == (swapped.recall, swapped.precision)


@pytest.mark.parametrize("k", [0, 4])
def test_number_of_neighbors_is_checked(k):
    with pytest.raises(ValueError, match=f"num_neighbors: {k}, expected 1 to 3"):
        measure(np.zeros((9, 2)), np.zeros((4, 2)), num_neighbors=k)
