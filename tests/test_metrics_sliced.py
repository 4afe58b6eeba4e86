"""The sliced Wasserstein distance: one-dimensional transport, shifts, scales and metric axioms."""

import numpy as np
import pytest
import references
from scipy import stats

from jaxgen import metrics
from jaxgen.metrics import sliced


@pytest.mark.parametrize(("num", "other_num"), [(6, 6), (6, 4), (7, 5), (1, 9), (10, 1)])
def test_one_dimension_equals_the_best_assignment(num, other_num):
    """In one dimension the directions are +1 and -1, and both give the whole transport."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(num, 1)), rng.normal(size=(other_num, 1))
    result = metrics.sliced_wasserstein(0, x, y, num_projections=3)
    expected = references.transport_cost(x[:, 0], y[:, 0])
    assert result.value**2 == pytest.approx(expected, rel=1e-12)
    assert result.standard_error == pytest.approx(0.0, abs=1e-12)
    assert result[2:] == (num, other_num, 3)


@pytest.mark.parametrize(("num", "other_num"), [(1, 1), (4, 6), (7, 5), (100, 33)])
def test_plan_moves_all_mass_once(num, other_num):
    rank, other_rank, mass = sliced._transport_plan(num, other_num)
    np.testing.assert_allclose(np.bincount(rank, mass), np.full(num, 1 / num))
    np.testing.assert_allclose(np.bincount(other_rank, mass), np.full(other_num, 1 / other_num))
    assert np.all(np.diff(rank) >= 0) and np.all(np.diff(other_rank) >= 0)


def test_directions_and_chunks(monkeypatch):
    """Against transport along the same directions, one at a time, in chunks of any size."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 4)), rng.normal(size=(8, 4))
    directions = np.random.default_rng(5).normal(size=(7, 4))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    costs = [references.transport_cost(x @ u, y @ u) for u in directions]
    for chunk in (1, 3, 32):
        monkeypatch.setattr(sliced, "_DIRECTIONS", chunk)
        result = metrics.sliced_wasserstein(5, x, y, num_projections=7)
        assert result.value == pytest.approx(np.sqrt(np.mean(costs)), rel=1e-12)
    squared_error = stats.sem(costs)
    assert result.standard_error == pytest.approx(squared_error / (2 * result.value), rel=1e-10)


def test_a_shift_moves_every_point_alike():
    """`W_2^2 = (u . d)^2` along u, so `SW_2 = |d| / sqrt(D)` for shifted copies of any law."""
    rng = np.random.default_rng(2)
    x, shift = rng.normal(size=(200, 6)), rng.normal(size=6)
    result = metrics.sliced_wasserstein(0, x, x[::-1] + shift, num_projections=2000)
    expected = np.linalg.norm(shift) / np.sqrt(6)
    assert abs(result.value - expected) < 5 * result.standard_error


def test_isotropic_gaussians_have_a_closed_form():
    """`SW_2^2 = |d|^2 / D + (s - t)^2`, less the noise of 4000 points."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(4000, 3)), 3.0 * rng.normal(size=(5000, 3)) + [2.0, 0.0, 0.0]
    result = metrics.sliced_wasserstein(0, x, y, num_projections=1000)
    expected = np.sqrt(4 / 3 + 4)
    assert abs(result.value - expected) < 5 * result.standard_error + 0.1
    assert metrics.sliced_wasserstein(0, x, x, num_projections=10)[:2] == (0.0, 0.0)


def test_axioms_and_scale():
    rng = np.random.default_rng(4)
    x, y, z = rng.normal(size=(20, 3)), 1 + rng.normal(size=(30, 3)), rng.normal(size=(25, 3)) - 1

    def distance(a, b):
        return metrics.sliced_wasserstein(0, a, b, num_projections=20).value

    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-12)
    assert distance(x, z) <= distance(x, y) + distance(y, z)
    assert distance(3 * x, 3 * y) == pytest.approx(3 * distance(x, y), rel=1e-12)
    # A copy of every point is the same law.
    assert distance(x, np.repeat(x, 3, axis=0)) == pytest.approx(0.0, abs=1e-12)


def test_one_seed_gives_one_score():
    """Trap 31: a new seed for each evaluation reads as progress."""
    x, y = np.random.default_rng(5).normal(size=(2, 30, 8))
    scores = [metrics.sliced_wasserstein(seed, x, y, num_projections=5) for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


def test_settings_are_refused():
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match="num_projections: 1, expected at least 2"):
        metrics.sliced_wasserstein(0, x, x, num_projections=1)
    with pytest.raises(ValueError, match="y: 0 points"):
        metrics.sliced_wasserstein(0, x, x[:0], num_projections=2)
