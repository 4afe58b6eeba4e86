"""Guidance on a mixture of two classes, whose scores are known, and thresholds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from scipy import special, stats

from jaxgen.diffusion import grids, guidance, samplers, schedules

WEIGHTS, MEANS, STDS = np.array([0.3, 0.7]), np.array([-0.8, 0.5]), np.array([0.2, 0.4])
X_T, LOG_SNR = np.linspace(-2.0, 2.0, 8)[:, None], np.linspace(-6.0, 6.0, 8)
LABELS = np.arange(8) % 2
CONDITION = np.eye(2)[LABELS]
NOTHING = np.zeros((1, 2))

each_scale = pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# --- What is known: noisy data of class k are N(a m_k, a^2 c_k^2 + s^2) ---


def log_densities(x, log_snr):
    """Of one noisy number, in each class."""
    a, s = np.sqrt(special.expit(log_snr)), np.sqrt(special.expit(-log_snr))
    return stats.norm.logpdf(x, a * MEANS, np.sqrt(a**2 * STDS**2 + s**2))


def log_density(x, log_snr):
    return special.logsumexp(log_densities(x, log_snr) + np.log(WEIGHTS))


def slope(function, x):
    return (function(x + 1e-5) - function(x - 1e-5)) / 2e-5


def expected_scores(scale):
    """The score of none plus the scale times the difference to that of the class."""
    scores = []
    for (x,), log_snr, label in zip(X_T, LOG_SNR, LABELS, strict=True):
        of_none = slope(lambda x, v=log_snr: log_density(x, v), x)
        of_class = slope(lambda x, v=log_snr, k=label: log_densities(x, v)[k], x)
        scores.append(of_none + scale * (of_class - of_none))
    return np.array(scores)


# --- The same as JAX denoiser and classifier ---


def classes(x_t, log_snr):
    """Estimate of the data and log-weight of each class, `[B, 2]`."""
    a, s = (jnp.sqrt(jax.nn.sigmoid(sign * log_snr))[:, None] for sign in (1.0, -1.0))
    means, square = jnp.asarray(MEANS)[None], jnp.asarray(STDS)[None] ** 2
    variance = a**2 * square + s**2
    error = x_t - a * means
    log_weights = jnp.log(jnp.asarray(WEIGHTS))[None] - 0.5 * jnp.log(variance)
    return means + a * square / variance * error, log_weights - 0.5 * error**2 / variance


def denoise(x_t, log_snr, condition):
    """Of the class in one-hot form; zeros stand for none."""
    estimates, log_weights = classes(x_t, log_snr)
    is_none = jnp.sum(condition, axis=1, keepdims=True) == 0.0
    shares = jnp.where(is_none, jax.nn.softmax(log_weights), condition)
    return jnp.sum(shares * estimates, axis=1, keepdims=True)


def denoise_any(x_t, log_snr, condition):
    return denoise(x_t, log_snr, jnp.zeros((len(x_t), 2)))


def log_prob(x_t, log_snr, condition):
    return jnp.sum(condition * jax.nn.log_softmax(classes(x_t, log_snr)[1]), axis=1)


def scores(denoiser):
    """The score that an estimate of the data means."""
    a, s = np.sqrt(special.expit(LOG_SNR)), np.sqrt(special.expit(-LOG_SNR))
    x0 = jax.jit(denoiser)(X_T, LOG_SNR, CONDITION)
    return (a * np.asarray(x0)[:, 0] - X_T[:, 0]) / s**2


@each_scale
def test_the_score_without_classifier_is_exact(scale, float64):
    guided = guidance.classifier_free(denoise, scale, without=NOTHING)
    np.testing.assert_allclose(scores(guided), expected_scores(scale), rtol=1e-7, atol=1e-7)


@each_scale
def test_the_score_with_a_classifier_is_exact(scale, float64):
    guided = guidance.classifier(denoise_any, log_prob, scale)
    np.testing.assert_allclose(scores(guided), expected_scores(scale), rtol=1e-7, atol=1e-7)


def test_a_scale_of_one_is_the_conditional_denoiser_and_zero_the_unconditional_one():
    x_t, log_snr, condition = (jnp.float32(array) for array in (X_T, LOG_SNR, CONDITION))
    for scale, expected in (
        (1.0, jax.jit(denoise)(x_t, log_snr, condition)),
        (0.0, jax.jit(denoise_any)(x_t, log_snr, condition)),
    ):
        guided = guidance.classifier_free(denoise, scale, without=NOTHING)
        np.testing.assert_array_equal(jax.jit(guided)(x_t, log_snr, condition), expected)


def test_the_denoiser_is_called_once_with_twice_the_examples():
    sizes = []

    def counted(x_t, log_snr, condition):
        sizes.append((len(x_t["a"]), len(log_snr), len(condition)))
        return {"a": x_t["a"] * condition[:, :1]}

    guided = guidance.classifier_free(counted, 3.0, without=jnp.zeros((1, 2)))
    x = {"a": jnp.ones((4, 1))}
    y = guided(x, jnp.zeros(4), 2.0 * jnp.ones((4, 2)))
    np.testing.assert_allclose(y["a"], 6.0 * x["a"])
    assert sizes == [(8, 8, 8)]


def test_every_example_may_have_a_scale_and_a_nothing_of_its_own(float64):
    scale = np.linspace(0.0, 3.0, 8)
    nothing = np.zeros((8, 2))

    @jax.jit
    def run(scale, nothing, *inputs):
        return guidance.classifier_free(denoise, scale, without=nothing)(*inputs)

    every = run(scale, nothing, X_T, LOG_SNR, CONDITION)
    for i in (0, 3, 7):
        inputs = (array[i : i + 1] for array in (X_T, LOG_SNR, CONDITION))
        one = run(scale[i], NOTHING, *inputs)
        np.testing.assert_allclose(every[i], one[0], rtol=1e-10)


def test_the_gradient_of_a_classifier_is_that_of_each_example(float64):
    """An example beside others is guided as it is alone."""
    guided = jax.jit(guidance.classifier(denoise_any, log_prob, 2.0))
    every = guided(X_T, LOG_SNR, CONDITION)
    one = guided(X_T[2:3], LOG_SNR[2:3], CONDITION[2:3])
    np.testing.assert_allclose(every[2], one[0], rtol=1e-10)


def test_the_scale_may_be_an_argument_of_a_program():
    traces = []

    @jax.jit
    def run(scale):
        traces.append(1)
        guided = guidance.classifier_free(denoise, scale, without=NOTHING)
        grid = grids.sampling_grid(schedules.Cosine(), 3)
        return samplers.ddim(
            jax.random.key(0), guided, jnp.float32(X_T), grid, condition=jnp.float32(CONDITION)
        )

    results = [np.asarray(run(scale)) for scale in (0.0, 1.0, 3.0)]
    assert len(traces) == 1
    assert len(np.unique(results)) == 24


# --- Thresholds ---


def given(x0):
    return lambda x_t, log_snr, condition=None: x0


def wide(seed=0):
    return np.random.default_rng(seed).normal(scale=2.0, size=(6, 5, 3))


def test_clipped_estimates_are_within_bounds():
    x = wide()
    found = guidance.clip(given(x))(x, LOG_SNR)
    np.testing.assert_allclose(found, np.clip(x, -1.0, 1.0), rtol=1e-6)
    tree = guidance.clip(given([x, 0.1 * x]), -0.5, 2.0)(None, None)
    np.testing.assert_allclose(tree[0], np.clip(x, -0.5, 2.0), rtol=1e-6)
    np.testing.assert_allclose(tree[1], np.clip(0.1 * x, -0.5, 2.0), rtol=1e-6)
    for low, high in ((1.0, 1.0), (1.0, -1.0), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="^low, high: .*, expected the lower first$"):
            guidance.clip(given(x), low, high)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_thresholds_scale_by_a_quantile_of_each_example(quantile):
    x = wide() * np.array([0.1, 0.3, 0.5, 1.0, 2.0, 10.0])[:, None, None]
    found = guidance.dynamic_threshold(given(jnp.asarray(x)), quantile=quantile)(x, LOG_SNR)
    bound = np.quantile(np.abs(x).reshape(6, -1), quantile, axis=1)
    bound = np.maximum(bound, 1.0)[:, None, None]
    np.testing.assert_allclose(found, np.clip(x, -bound, bound) / bound, rtol=1e-5)
    assert np.all(np.abs(found) <= 1.0)
    np.testing.assert_allclose(found[0], x[0], rtol=1e-6)


@pytest.mark.parametrize("quantile", [0.0, -0.1, 1.1, np.nan])
def test_quantiles_are_shares(quantile):
    with pytest.raises(ValueError, match=r"^quantile: .*, expected in \(0, 1\]$"):
        guidance.dynamic_threshold(given(wide()), quantile=quantile)


def test_the_noise_of_a_step_follows_the_clipped_estimate(float64):
    """As if a network had said it: the noise is derived anew, and the last state is in bounds."""
    grid = grids.sampling_grid(schedules.Cosine(), 5)
    a, s = np.exp(grid.log_a[:6]), np.exp(grid.log_s[:6])

    def far(x_t, log_snr, condition):
        return 3.0 * jnp.sin(5.0 * x_t)

    found = samplers.ddim(jax.random.key(0), guidance.clip(far), X_T, grid)
    expected = references.ddim(lambda x, a, s: np.clip(3.0 * np.sin(5.0 * x), -1, 1), X_T, a, s)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert np.all(np.abs(found) <= 1.0)


def test_a_threshold_after_guidance_is_not_one_before_it():
    x_t, log_snr, condition = (jnp.float32(array) for array in (X_T, LOG_SNR, CONDITION))
    guide = functools.partial(guidance.classifier_free, scale=8.0, without=NOTHING)
    after = jax.jit(guidance.clip(guide(denoise)))(x_t, log_snr, condition)
    before = jax.jit(guide(guidance.clip(denoise)))(x_t, log_snr, condition)
    assert np.all(np.abs(after) <= 1.0)
    assert np.any(np.abs(before) > 1.0)
