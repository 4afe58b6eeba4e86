"""Modes found, shares and divergences, and what a perfect sampler scores."""

import math

import numpy as np
import pytest
import references
from scipy import stats

from jaxgen import metrics

AXIS = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
GRID = np.array([(a, b) for a in AXIS for b in AXIS])
RING = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], axis=1)
MIXTURES = pytest.mark.parametrize(("centres", "std"), [(RING, 0.01), (GRID, 0.05)])
MNIST_LABELS = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]) / 60_000


def draw(rng, centres, std, num):
    points = centres[rng.integers(len(centres), size=num)]
    return points + std * rng.normal(size=points.shape)


def uniform(num):
    return np.full(num, 1 / num)


@MIXTURES
def test_counts_equal_the_reference(centres, std):
    rng = np.random.default_rng(0)
    points = draw(rng, centres[:5], 2 * std, 300)
    result = metrics.count_modes(points, centres, std)
    np.testing.assert_allclose(result[:3], references.mode_counts(points, centres, std), rtol=1e-9)
    assert (result.num_found, result.num_modes, result.num) == (5, len(centres), 300)


@MIXTURES
def test_a_perfect_sampler_meets_its_floors(centres, std):
    """98.89 % lie within 3 standard deviations in the plane; the divergence is not 0."""
    rng = np.random.default_rng(1)
    results = [metrics.count_modes(draw(rng, centres, std, 2500), centres, std) for _ in range(36)]
    kls, shares = np.array([(result.kl, result.good_share) for result in results]).T
    perfect = results[0]
    assert perfect.perfect_good_share == pytest.approx(1 - math.exp(-4.5), rel=1e-12)
    assert abs(kls.mean() - perfect.perfect_kl) / (kls.std() / 6) < 5
    assert abs(shares.mean() - perfect.perfect_good_share) / (shares.std() / 6) < 5
    assert {result.num_found for result in results} == {len(centres)}


def test_published_floors():
    """The four of the field guide: .0014 and .0049 in the plane, .0193 and .0234 stacked."""
    assert metrics.count_modes(np.zeros((2500, 2)), RING, 0.01).perfect_kl == pytest.approx(
        0.0014, abs=5e-5
    )
    assert metrics.count_modes(np.zeros((2500, 2)), GRID, 0.05).perfect_kl == pytest.approx(
        0.0049, abs=5e-5
    )
    value = metrics.expected_kl(26_000, uniform(1000), uniform(1000))
    assert value == pytest.approx(0.0193, abs=5e-5)
    masses = np.kron(np.kron(MNIST_LABELS, MNIST_LABELS), MNIST_LABELS)
    assert stats.entropy(masses, uniform(1000)) == pytest.approx(0.0043, abs=5e-5)
    value = metrics.expected_kl(26_000, masses, uniform(1000))
    assert value == pytest.approx(0.0234, abs=0.0010)


def test_expected_kl_equals_simulation():
    rng = np.random.default_rng(2)
    p, q = np.array([0.5, 0.3, 0.15, 0.05, 0.0]), np.array([0.2, 0.2, 0.2, 0.2, 0.2])
    draws = stats.entropy(rng.multinomial(40, p, size=4000), q[None], axis=1)
    z = (draws.mean() - metrics.expected_kl(40, p, q)) / (draws.std() / np.sqrt(len(draws)))
    assert abs(z) < 5


def test_expected_kl_of_extreme_laws():
    # One draw is certain of itself; a large number leaves the divergence of the laws.
    assert metrics.expected_kl(1, uniform(8), uniform(8)) == pytest.approx(math.log(8))
    p, q = np.array([0.9, 0.1]), np.array([0.5, 0.5])
    assert metrics.expected_kl(10**7, p, q) == pytest.approx(stats.entropy(p, q), abs=1e-7)
    assert metrics.expected_kl(9, q, np.array([1.0, 0.0])) == math.inf
    assert metrics.expected_kl(9, np.array([1.0, 0.0]), q) == pytest.approx(math.log(2))
    floors = [metrics.expected_kl(num, uniform(5), uniform(5)) for num in (10, 100, 1000, 10**4)]
    assert floors == sorted(floors, reverse=True)
    assert floors[-1] == pytest.approx(4 / (2 * 10**4), rel=1e-3)


def test_a_point_at_the_border_and_no_good_point():
    inside, outside = 3 * 0.5 - 1e-9, 3 * 0.5 + 1e-9
    centres = np.array([[0.0, 0.0], [10.0, 0.0]])
    result = metrics.count_modes(np.array([[inside, 0.0], [10.0, outside]]), centres, 0.5)
    assert result[:2] == (1, 0.5)
    assert result.kl == pytest.approx(math.log(2))
    nothing = metrics.count_modes(np.array([[5.0, 5.0]]), centres, 0.5)
    assert nothing[:2] == (0, 0.0) and math.isnan(nothing.kl)


def test_stacked_modes_by_hand():
    digits = np.array([[0, 0, 1], [0, 0, 1], [9, 9, 9], [1, 2, 3]], np.uint8)
    result = metrics.count_stacked_modes(digits)
    assert (result.num_found, result.num_modes, result.num) == (3, 1000, 4)
    expected = stats.entropy([2, 1, 1] + [0] * 997, uniform(1000))
    assert result.kl == pytest.approx(expected, rel=1e-12)
    masses = np.zeros(1000)
    masses[[1, 999, 123]] = 0.5, 0.25, 0.25
    against = metrics.count_stacked_modes(digits, distribution=masses)
    assert against.kl == pytest.approx(0.0, abs=1e-15) and against.num_modes == 3
    masses[123], masses[1] = 0.0, 0.75
    assert metrics.count_stacked_modes(digits, distribution=masses).kl == math.inf
    assert metrics.count_stacked_modes(digits % 2, num_classes=2).num_modes == 8


def test_a_perfect_stacked_sampler_meets_its_floor():
    rng = np.random.default_rng(3)
    results = [metrics.count_stacked_modes(rng.integers(10, size=(26_000, 3))) for _ in range(12)]
    kls = np.array([result.kl for result in results])
    z = (kls.mean() - results[0].perfect_kl) / (kls.std(ddof=1) / np.sqrt(len(kls)))
    assert abs(z) < 5 and results[0].num_found == 1000
    assert kls.std(ddof=1) == pytest.approx(0.0008, abs=0.0005)


def test_settings_are_refused():
    with pytest.raises(ValueError, match="std: 0.0, expected above 0"):
        metrics.count_modes(RING, RING, 0.0)
    with pytest.raises(ValueError, match="digits: 0 to 10, expected 0 to 9"):
        metrics.count_stacked_modes(np.array([[0, 10, 3]]))
    with pytest.raises(ValueError, match="digits: 0 images"):
        metrics.count_stacked_modes(np.zeros((0, 3), int))
    with pytest.raises(ValueError, match="num_classes: 1"):
        metrics.count_stacked_modes(np.zeros((1, 3), int), num_classes=1)
    with pytest.raises(ValueError, match="distribution: sum 2"):
        metrics.count_stacked_modes(np.zeros((1, 3), int), distribution=np.full(1000, 0.002))
    with pytest.raises(ValueError, match="num: 0"):
        metrics.expected_kl(0, uniform(2), uniform(2))
    with pytest.raises(AssertionError):
        metrics.count_stacked_modes(np.zeros((4, 3)))  # digits are whole numbers
