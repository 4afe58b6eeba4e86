"""Nearest neighbours: all pairs, planted copies, and samples of the right law."""

import numpy as np
import pytest
import references
from scipy.spatial import distance

from jaxgen import metrics


def sets(seed, *sizes, dim=20):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(size, dim)) for size in sizes]


@pytest.mark.parametrize("dim", [2, 40])
def test_neighbors_equal_all_pairs(dim):
    samples, train = sets(0, 30, 50, dim=dim)
    result = metrics.nearest_neighbors(samples, train, num_neighbors=4)
    between = distance.cdist(samples, train)
    np.testing.assert_array_equal(result.indices, np.argsort(between, axis=1)[:, :4])
    np.testing.assert_allclose(result.distances, np.sort(between, axis=1)[:, :4], rtol=1e-12)


@pytest.mark.parametrize("dim", [2, 40])
def test_other_points_exclude_oneself_but_not_a_duplicate(dim):
    (x,) = sets(1, 40, dim=dim)
    result = metrics.nearest_other_points(x, num_neighbors=3)
    np.testing.assert_allclose(
        result.distances, np.sort(distance.cdist(x, x), axis=1)[:, 1:4], rtol=1e-12
    )
    assert not np.any(result.indices == np.arange(40)[:, None])
    doubled = metrics.nearest_other_points(np.concatenate([x, x]))
    np.testing.assert_array_equal(doubled.distances, 0.0)
    np.testing.assert_array_equal(doubled.indices[:, 0] % 40, np.arange(80) % 40)


def test_a_planted_copy_is_found_at_distance_zero():
    """Trap 39. The mean is large, so that distances from squared norms alone would miss it."""
    samples, train, test = (100.0 + x for x in sets(2, 60, 200, 300, dim=64))
    samples[[3, 41]] = train[[7, 150]]
    samples[5] = train[9] + 1e-3
    result = metrics.nearest_neighbors(samples, train)
    np.testing.assert_array_equal(result.indices[[3, 41, 5], 0], [7, 150, 9])
    np.testing.assert_array_equal(result.distances[[3, 41], 0], 0.0)
    assert result.distances[5, 0] == pytest.approx(1e-3 * 8, rel=1e-9)
    summary = metrics.data_copying(samples, train, test)
    assert summary.num_nearer_than_all_test >= 3
    assert set(np.argsort(result.distances[:, 0])[:3]) == {3, 5, 41}
    assert (summary.num, summary.num_train, summary.num_test) == (60, 200, 300)


def test_summary_equals_mann_and_whitney():
    samples, train, test = sets(3, 70, 90, 50)
    samples[:10] = train[:10]
    result = metrics.data_copying(samples, train, test)
    assert result.share_nearer == pytest.approx(
        references.share_nearer(samples, train, test), rel=1e-12
    )
    for value, points in ((result.median_distance, samples), (result.test_median_distance, test)):
        expected = np.median(distance.cdist(points, train).min(axis=1))
        assert value == pytest.approx(expected, rel=1e-12)


def test_samples_of_the_law_copies_and_strangers():
    """Half of the former are nearer than a test point, all of the second and none of the third."""
    zs = []
    for seed in range(60):
        samples, train, test = sets(seed, 40, 30, 50, dim=5)
        zs.append(metrics.data_copying(samples, train, test).z)
    assert abs(np.mean(zs)) * np.sqrt(60) < 5
    assert 0.6 < np.std(zs) < 1.4
    copies = metrics.data_copying(train, train, test)
    assert copies.share_nearer == 1.0 and copies.num_nearer_than_all_test == len(train)
    assert copies.median_distance == 0.0
    strangers = metrics.data_copying(samples + 100.0, train, test)
    assert strangers.share_nearer == 0.0 and strangers.num_nearer_than_all_test == 0
    assert strangers.z < -5 < 5 < copies.z


def test_ties_count_half():
    train = np.zeros((2, 1))
    result = metrics.data_copying(np.ones((3, 1)), train, -np.ones((4, 1)))
    assert result.share_nearer == 0.5 and result.z == 0.0


def test_settings_are_refused():
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="num_neighbors: 4, expected 1 to 3"):
        metrics.nearest_neighbors(x, x, num_neighbors=4)
    with pytest.raises(ValueError, match="num_neighbors: 3, expected 1 to 2"):
        metrics.nearest_other_points(x, num_neighbors=3)
    with pytest.raises(ValueError, match="test: 0 points|samples: 0 points"):
        metrics.data_copying(x, x, x[:0])
