"""Scores of strange examples on Gaussians whose areas are known, and the area itself."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from jaxgen import metrics

NUM = 3000
# In N(0, I), out N(0, I/4), scored under the first: dimension to the area of -ln p.
LIKELIHOOD = {2: 0.2, 10: 0.0196, 64: 5e-8}
TYPICALITY = {10: 0.913, 64: 0.9998}


def draws(dim, scale, seed):
    return scale * np.random.default_rng(seed).normal(size=(NUM, dim))


def log_prob(x, scale):
    return stats.norm.logpdf(x, 0, scale).sum(axis=1)


@pytest.mark.parametrize("dim", LIKELIHOOD)
def test_likelihood_fails_and_ratio_does_not(dim):
    """The other set has more probability; the ratio to its own density puts that right."""
    own, other = draws(dim, 1.0, 0), draws(dim, 0.5, 1)
    area = metrics.auroc(*(metrics.likelihood_score(log_prob(x, 1.0)) for x in (own, other)))
    expected = LIKELIHOOD[dim]
    assert abs(area.value - expected) <= 4 * area.standard_error + 1e-6
    ratios = (metrics.ratio_score(log_prob(x, 1.0), log_prob(x, 0.5)) for x in (own, other))
    area = metrics.auroc(*ratios)
    assert abs(area.value - (1 - expected)) <= 4 * area.standard_error + 1e-6


@pytest.mark.parametrize("dim", TYPICALITY)
def test_typicality(dim):
    own, other, reference = (log_prob(draws(dim, s, i), 1.0) for i, s in enumerate((1, 0.5, 1)))
    area = metrics.auroc(*(metrics.typicality_score(x, reference) for x in (own, other)))
    assert abs(area.value - TYPICALITY[dim]) < 4 * area.standard_error + 1e-4
    control = metrics.auroc(*(metrics.typicality_score(x, reference) for x in (own, reference)))
    assert abs(control.value - 0.5) < 4 * control.standard_error


def test_in_against_in():
    values = np.array(
        [
            metrics.auroc(draws(1, 1, 2 * i)[:300, 0], draws(1, 1, 2 * i + 1)[:200, 0])[:2]
            for i in range(300)
        ]
    )
    z = (values[:, 0] - 0.5) / values[:, 1]
    assert abs(z.mean()) < 4 / np.sqrt(300) and z.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("num_values", [2, 5, 10**6])
def test_area_equals_that_of_scikit_learn_with_ties(num_values):
    rng = np.random.default_rng(num_values)
    own, other = rng.integers(num_values, size=70), rng.integers(num_values, size=50) + 1
    area = metrics.auroc(own, other)
    scores = np.concatenate([own, other])
    expected = roc_auc_score(np.repeat([0, 1], [70, 50]), scores)
    assert area.value == pytest.approx(expected, rel=1e-12)
    assert (area.num, area.other_num) == (70, 50)
    pairs = (other[:, None] > own) + 0.5 * (other[:, None] == own)
    variance = pairs.mean(axis=1).var(ddof=1) / 50 + pairs.mean(axis=0).var(ddof=1) / 70
    assert area.standard_error == pytest.approx(np.sqrt(variance), rel=1e-12)
    swapped = metrics.auroc(other, own)
    assert swapped.value == pytest.approx(1 - area.value, rel=1e-12)
    assert swapped.standard_error == pytest.approx(area.standard_error, rel=1e-12)


def test_extreme_scores():
    assert metrics.auroc([1, 1, 1], [1, 1]).value == 0.5
    area = metrics.auroc([0.0, 1.0], [2.0, np.inf])
    assert area.value == 1.0 and area.standard_error == 0.0


def test_complexity_in_bits():
    """Bits of the model less bits of the file; one nat is 1.4427 bits."""
    np.testing.assert_allclose(
        metrics.complexity_score(-np.log(2.0) * np.array([10.0, 20.0]), [3.0, 5.0]), [7.0, 15.0]
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_bits(channels):
    """None for one colour, as many as the noise has for noise, and in between the size of a file."""
    shape = (32, 32, channels)
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=shape).astype(np.uint8)
    flat = np.full(shape, 7, np.uint8)
    found = metrics.png_bits(np.stack([flat, noise % 4, noise]))
    assert abs(found[0]) <= 8 * 20 and found[0] < found[1] < found[2]
    assert found[2] == pytest.approx(8 * noise.size, rel=0.05)
    if channels == 3:
        sizes = []
        for image in (noise, np.zeros(shape, np.uint8)):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG", optimize=True)
            sizes.append(len(file.getvalue()))
        assert found[2] == 8 * (sizes[0] - sizes[1])


def test_histograms_share_their_bins_and_lose_nothing():
    rng = np.random.default_rng(0)
    sets = {"own": rng.normal(size=500), "far": 1e4 * rng.normal(size=80)}
    found = metrics.shared_histograms(sets, num_bins=30)
    assert {name: counts.sum() for name, counts in found.counts.items()} == {"own": 500, "far": 80}
    assert len(found.edges) == 31 and (found.counts["own"] > 0).sum() > 3
    inside = np.histogram(sets["own"], found.edges)[0]
    np.testing.assert_array_equal(found.counts["own"], inside)
    assert metrics.shared_histograms({"one": np.ones(5)}).counts["one"].sum() == 5


REFUSED = {
    r"scores: shape \(1,\), expected": lambda: metrics.auroc([1.0], [1.0, 2.0]),
    "other: 1 NaN": lambda: metrics.auroc([1.0, 2.0], [np.nan, 2.0]),
    "reference: 0 examples": lambda: metrics.typicality_score(np.zeros(3), np.zeros(0)),
    "x: float64": lambda: metrics.png_bits(np.zeros((2, 8, 8, 1))),
    "num_bins, reach: 0": lambda: metrics.shared_histograms({"a": [1.0]}, num_bins=0),
    "expected one or more of finite": lambda: metrics.shared_histograms({"a": [np.inf]}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
