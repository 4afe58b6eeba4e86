"""Bayes' rule, scores of probabilities, and calibration, against NumPy, SciPy and scikit-learn."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from sklearn.metrics import brier_score_loss, log_loss

from jaxgen import metrics
from jaxgen.training.evaluation import summarize

NUM = 4000


def two_gaussians(norm, dim=3, seed=0):
    """Draws of N(m, I) and N(-m, I), their labels, log-densities and m."""
    rng = np.random.default_rng(seed)
    m = np.full(dim, norm / math.sqrt(dim))
    label = rng.integers(2, size=NUM)
    x = rng.normal(size=(NUM, dim)) + np.where(label[:, None] == 1, m, -m)
    log_prob = [stats.multivariate_normal(mean).logpdf(x) for mean in (-m, m)]
    return x, label, np.stack(log_prob, axis=1), m


@pytest.mark.parametrize("norm", [0.3, 1.0, 2.5])
def test_two_gaussians(norm):
    """The posterior is sigmoid(2 m.x), and the accuracy Phi(|m|)."""
    x, label, log_prob, m = two_gaussians(norm)
    posterior = metrics.bayes_posterior(log_prob - 5e3, np.log([0.5, 0.5]))
    np.testing.assert_allclose(posterior[:, 1], special.log_expit(2 * x @ m), atol=1e-9)
    np.testing.assert_allclose(posterior[:, 0], special.log_expit(-2 * x @ m), atol=1e-9)
    scores = metrics.classification_scores(posterior, label)
    found = summarize(scores._asdict())["correct"]
    expected = stats.norm.cdf(norm)
    assert found.standard_error == pytest.approx(
        math.sqrt(expected * (1 - expected) / NUM), rel=0.1
    )
    assert abs(found.mean - expected) < 4 * found.standard_error
    curve = metrics.reliability_curve(posterior, label)
    gap = np.abs(curve.accuracy - curve.confidence)
    assert np.all(gap < 4.5 * curve.chance_error + 1e-3)  # The true posterior is calibrated.


def test_identical_classes_return_the_prior():
    prior = np.array([0.1, 0.2, 0.7])
    log_likelihood = np.repeat(np.random.default_rng(0).normal(-6e3, 50, (20, 1)), 3, axis=1)
    posterior = metrics.bayes_posterior(log_likelihood, np.log(prior))
    np.testing.assert_allclose(np.exp(posterior), np.tile(prior, (20, 1)), rtol=1e-9)
    evidence = metrics.log_evidence(log_likelihood, np.log(prior))
    np.testing.assert_allclose(evidence, log_likelihood[:, 0], rtol=1e-12)


def test_few_nats_among_thousands_count():
    """In half precision the spacing of numbers about 6,200 is 32 nats."""
    log_likelihood = jnp.array([[-6200.0, -6203.0]], jnp.float32)
    posterior = metrics.bayes_posterior(log_likelihood, np.zeros(2))
    assert posterior.dtype == np.float64
    np.testing.assert_allclose(posterior[0, 1], -np.log1p(np.exp(3.0)), rtol=1e-12)


def test_a_class_without_probability_is_never_given():
    posterior = metrics.bayes_posterior([[-1.0, -2.0]], [-np.inf, 0.0])
    np.testing.assert_array_equal(posterior, [[-np.inf, 0.0]])


def test_scores_equal_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    posterior = special.log_softmax(3 * rng.normal(size=(200, 4)), axis=1)
    label = rng.integers(4, size=200)
    scores = metrics.classification_scores(posterior, label)
    probabilities = np.exp(posterior)
    assert scores.log_loss.mean() == pytest.approx(log_loss(label, probabilities), rel=1e-9)
    brier = sum(brier_score_loss(label == k, probabilities[:, k]) for k in range(4))
    assert scores.brier.mean() == pytest.approx(brier, rel=1e-9)
    assert scores.correct.mean() == np.mean(probabilities.argmax(axis=1) == label)
    two = np.sort(posterior, axis=1)[:, -2:]
    np.testing.assert_allclose(scores.lead, two[:, 1] - two[:, 0])
    assert {value.shape for value in scores} == {(200,)}


def test_reliability_bin_by_bin():
    rng = np.random.default_rng(2)
    posterior = special.log_softmax(2 * rng.normal(size=(300, 3)), axis=1)
    label = rng.integers(3, size=300)
    curve = metrics.reliability_curve(posterior, label, num_bins=10)
    confidence = np.exp(posterior.max(axis=1))
    is_right = posterior.argmax(axis=1) == label
    error, bins = 0.0, []
    for k in range(10):
        inside = (confidence > k / 10) & (confidence <= (k + 1) / 10)
        if inside.any():
            gap = abs(is_right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
            p = confidence[inside]
            chance = math.sqrt(np.sum(p * (1 - p))) / inside.sum()
            bins.append((p.mean(), is_right[inside].mean(), chance, inside.sum()))
    assert curve.expected_error == pytest.approx(error, rel=1e-9)
    np.testing.assert_allclose(np.array(curve[1:]).T, bins, rtol=1e-9)


def test_perfect_and_overconfident_classifiers():
    label = np.arange(90) % 3
    sure = np.where(np.eye(3)[label] == 1, 0.0, -np.inf)
    curve = metrics.reliability_curve(sure, label)
    assert curve.expected_error == 0.0 and curve.num.tolist() == [90]
    scores = metrics.classification_scores(sure, label)
    assert scores.correct.min() == 1 and scores.brier.max() == 0 and scores.log_loss.max() == 0
    wrong = metrics.reliability_curve(sure, (label + 1) % 3)
    assert wrong.expected_error == 1.0


def test_common_noise_cancels_in_the_lead():
    """Noise that moves all classes alike leaves no error; that of each class has its size."""
    rng = np.random.default_rng(3)
    clean = rng.normal(size=(1, 2000, 4)) * 20
    common = clean + rng.normal(size=(16, 2000, 1))
    prior = np.log(np.full(4, 0.25))
    np.testing.assert_allclose(metrics.lead_standard_error(common, prior), 0, atol=1e-12)
    own = clean + 0.5 * rng.normal(size=(16, 2000, 4))
    error = metrics.lead_standard_error(own, prior)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(0.5 * math.sqrt(2 / 16), rel=0.05)


HALVES = np.log(np.full((3, 2), 0.5))
REFUSED = {
    r"log_likelihood, log_prior: \(3, 2\) and \(3,\)": lambda: metrics.bayes_posterior(
        HALVES, np.zeros(3)
    ),
    "log_likelihood: NaN or infinite": lambda: metrics.bayes_posterior(
        np.full((3, 2), np.nan), np.zeros(2)
    ),
    r"log_posterior: shape \(3, 1\)": lambda: metrics.classification_scores(
        np.zeros((3, 1)), np.zeros(3, int)
    ),
    "label: float64": lambda: metrics.classification_scores(HALVES, np.zeros(3)),
    "label: 0 to 2, expected 0 to 1": lambda: metrics.classification_scores(HALVES, np.arange(3)),
    "probabilities that do not sum to 1": lambda: metrics.classification_scores(
        np.zeros((3, 2)), np.zeros(3, int)
    ),
    "num_bins: 0": lambda: metrics.reliability_curve(HALVES, np.zeros(3, int), num_bins=0),
    "expected \\[R, N, K\\]": lambda: metrics.lead_standard_error(HALVES[None], np.zeros(2)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()
