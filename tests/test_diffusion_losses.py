"""Weights and losses of predictions, beside float64 NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_references import KINDS, amplitudes, each_kind, mixture, plain_target
from scipy import stats

from jaxgen.diffusion import grids, losses, process, schedules, weighting

WEIGHTINGS = ("simple", "snr", "min_snr", "bound")


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def mixed():
    """Data, noise and their mixture by plain formulas."""
    return mixture()


# --- Weights ---


def plain_weight(snr, slope, kind, name):
    """Of the error of the data by definition, and from it that of each prediction."""
    if name == "simple":
        return np.ones_like(snr)
    of_x = {"snr": snr, "min_snr": np.minimum(snr, 5.0), "bound": -0.5 * slope * snr}[name]
    a, s = np.sqrt(snr / (1.0 + snr)), np.sqrt(1.0 / (1.0 + snr))
    return of_x * {"noise": 1.0 / snr, "x0": 1.0, "v": s**2, "velocity": (s / (a + s)) ** 2}[kind]


@each_kind
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_those_of_the_error_of_the_data(kind, name, float64):
    log_snr, slope = np.linspace(-12.0, 14.0, 50), -np.linspace(1.0, 9.0, 50)
    found = weighting.weight(log_snr, slope, kind, name)
    np.testing.assert_allclose(found, plain_weight(np.exp(log_snr), slope, kind, name), rtol=1e-8)


@each_kind
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weights_are_finite_without_noise_and_without_signal(kind, name):
    log_snr = jnp.array([-np.inf, -200.0, 200.0, np.inf])
    found = weighting.weight(log_snr, jnp.full(4, -2.0), kind, name)
    is_infinite = kind == "x0" and name in ("snr", "bound")
    assert np.isfinite(found).tolist() == [True, True, not is_infinite, not is_infinite]
    assert np.all(found >= 0.0)


# --- Losses ---

LOSSES = {
    "noise": losses.noise_prediction,
    "x0": losses.x0_prediction,
    "v": losses.v_prediction,
    "velocity": losses.velocity_prediction,
}
LINEAR = schedules.LogSnrLinear(-4.0, 6.0)


def plain(loss):
    """The function without its jit, which shows its denoiser numbers."""
    return loss.__wrapped__


@pytest.mark.parametrize("name", WEIGHTINGS)
@each_kind
def test_a_loss_is_the_weighted_error_at_the_levels_that_the_network_saw(kind, name, mixed):
    x, seen = jnp.asarray(mixed[0], jnp.float32), []

    def predict(x_t, log_snr, condition):
        seen.extend((x_t, log_snr))
        return condition * jnp.sin(x_t)

    found = plain(LOSSES[kind])(
        jax.random.key(0), predict, x, LINEAR, condition=2.0, weighting=name
    )
    x_t, log_snr = (np.asarray(array, np.float64) for array in seen)
    a, s = (row[:, None, None] for row in amplitudes(log_snr))
    noise = (x_t - a * mixed[0]) / s
    error = (plain_target(mixed[0], noise, a, s, kind) - 2.0 * np.sin(x_t)) ** 2
    weight = plain_weight(np.exp(log_snr), -10.0, kind, name)
    np.testing.assert_allclose(found, weight * error.sum((1, 2)), rtol=1e-4)


def test_times_are_uniform_and_noise_is_normal():
    x, seen = jnp.ones((4000, 1)), []

    def predict(x_t, log_snr, condition):
        seen.extend((x_t, log_snr))
        return x_t

    plain(losses.noise_prediction)(jax.random.key(0), predict, x, LINEAR)
    x_t, log_snr = (np.asarray(array, np.float64) for array in seen)
    a, s = amplitudes(log_snr)
    noise, t = (x_t[:, 0] - a) / s, (6.0 - log_snr) / 10.0
    assert stats.kstest(t, "uniform").pvalue > 1e-6
    assert stats.kstest(noise, "norm").pvalue > 1e-6
    assert np.abs(np.corrcoef(t, noise)[0, 1]) * np.sqrt(4000) < 5.0


@pytest.fixture(scope="module")
def equal_errors():
    """Every loss of networks of every kind that mean one estimate of the data."""

    def predict(kind, x_t, log_snr, condition):
        x0 = jnp.tanh(x_t)
        return process.target(x0, process.noise_of(x0, x_t, log_snr), log_snr, kind)

    @jax.jit
    def every(x):
        return {
            (kind, name): loss(
                jax.random.key(0), functools.partial(predict, kind), x, LINEAR, weighting=name
            )
            for (kind, loss), name in itertools.product(LOSSES.items(), WEIGHTINGS)
        }

    with jax.enable_x64(True):
        return jax.device_get(every(np.random.default_rng(0).normal(size=(6, 3))))


@pytest.mark.parametrize("name", WEIGHTINGS[1:])
def test_an_equal_error_of_the_data_is_an_equal_loss_for_all_kinds(name, equal_errors):
    for kind in KINDS:
        np.testing.assert_allclose(
            equal_errors[kind, name], equal_errors["x0", name], rtol=1e-8, err_msg=kind
        )


def test_the_loss_of_the_noise_is_weighted_by_the_snr(equal_errors):
    np.testing.assert_array_equal(equal_errors["noise", "simple"], equal_errors["noise", "snr"])
    ratio = equal_errors["v", "simple"] / equal_errors["x0", "simple"]
    snr = equal_errors["x0", "snr"] / equal_errors["x0", "simple"]
    np.testing.assert_allclose(ratio, snr + 1.0, rtol=1e-8)


def sines(x_t, log_snr, condition):
    return jax.tree.map(jnp.sin, x_t)


def two_sines(*args):
    return sines(*args), sines(*args)


def test_data_of_losses_may_be_trees(mixed):
    x, key = jnp.asarray(mixed[0], jnp.float32), jax.random.key(0)
    for loss, predict, levels in (
        (losses.v_prediction, sines, LINEAR),
        (losses.hybrid, two_sines, grids.bound_grid(LINEAR, 3)),
    ):
        one, same = (loss(key, predict, tree, levels) for tree in (x, {"a": x}))
        np.testing.assert_allclose(same, one, rtol=1e-6)
    two = losses.v_prediction(key, sines, {"a": x, "b": x[:, 0]}, LINEAR)
    assert two.shape == (4,)
    assert np.all(two > 0.0)


# --- The hybrid loss ---


def test_the_hybrid_loss_has_the_divergence_of_two_normals_at_a_random_step():
    x, seen = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32), []
    grid = grids.bound_grid(LINEAR, 5)

    def predict(x_t, log_snr, condition):
        seen.extend((x_t, log_snr))
        return jnp.sin(x_t), 0.3 + jnp.cos(x_t)

    found = plain(losses.hybrid)(jax.random.key(2), predict, x, grid, bound_weight=0.1)
    x_t, log_snr = (np.asarray(array, np.float64) for array in seen)
    levels, counts = np.unique(np.round(log_snr, 4), return_counts=True)
    np.testing.assert_allclose(levels, [-4.0, -2.0, 0.0, 2.0, 4.0])
    assert stats.chisquare(counts).pvalue > 1e-6
    # The next level of each example is 2 less noisy.
    (a_t, s_t), (a_s, s_s) = (
        [row[:, None] for row in amplitudes(level)] for level in (log_snr, log_snr + 2.0)
    )
    noise = (x_t - a_t * x) / s_t

    def posterior(x0):
        """By the joint covariance of x_s and x_t."""
        covariance = a_t / a_s * s_s**2
        mean = a_s * x0 + covariance / s_t**2 * (x_t - a_t * x0)
        return mean, s_s**2 - covariance**2 / s_t**2

    mean, variance = posterior(x)
    guess, _ = posterior((x_t - s_t * np.sin(x_t)) / a_t)
    fraction, step = 0.3 + np.cos(x_t), 1.0 - (a_t / a_s) ** 2
    log_var = fraction * np.log(step) + (1.0 - fraction) * np.log(variance)
    ratio = variance / np.exp(log_var)
    kl = 0.5 * (ratio - 1.0 - np.log(ratio) + (mean - guess) ** 2 / np.exp(log_var))
    expected = (noise - np.sin(x_t)) ** 2 + 0.1 * 5 * kl
    np.testing.assert_allclose(found, expected.sum(axis=1), rtol=1e-3)


def test_the_second_term_of_the_hybrid_loss_teaches_the_variance_alone(mixed, float64):
    x, grid = mixed[0], grids.bound_grid(LINEAR, 5)

    def loss(scale, fraction, bound_weight):
        def predict(x_t, log_snr, condition):
            return scale * x_t, jnp.full_like(x_t, fraction)

        return losses.hybrid(jax.random.key(0), predict, x, grid, bound_weight=bound_weight)

    slopes = jax.jit(jax.jacfwd(loss, argnums=(0, 1)))
    (with_bound, of_fraction), (without, none) = slopes(0.4, 0.2, 1e3), slopes(0.4, 0.2, 0.0)
    np.testing.assert_allclose(with_bound, without, rtol=1e-10)
    assert np.all(np.abs(of_fraction) > 1e-3)
    np.testing.assert_array_equal(none, np.zeros(4))
    for fraction in (-3.0, 4.0):
        assert np.all(np.isfinite(slopes(0.4, fraction, 1.0)))
