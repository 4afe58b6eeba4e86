"""Variational bounds of diffusion models, on data whose density is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_references import NUM, SCHEDULE, X, any_number, assert_mean, unit_normal
from scipy import integrate, special, stats

from jaxgen.diffusion import grids, losses, process, schedules, variational


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def constant(x_t, log_snr, value):
    return jnp.full_like(x_t, value)


def rows(x):
    """Many copies of one example of two numbers."""
    return jnp.full((NUM, 2), jnp.asarray(x)[None])


# For data N(0, I) the error of the estimate at x is s^4 ||x||^2 + a^2 s^2 D in expectation.


def expected_error(x, log_snr):
    a, s = special.expit(log_snr), special.expit(-log_snr)
    return s**2 * np.sum(x**2) + a * s * len(x)


def expected_diffusion(x, low, high):
    """The integral of the error over SNR / 2 by quadrature over the log-SNR."""
    return integrate.quad(lambda v: 0.5 * np.exp(v) * expected_error(x, v), low, high)[0]


def expected_discrete(x, low, high, num):
    levels = np.linspace(low, high, num + 1)
    snr = np.exp(levels)
    return [
        0.5 * (after - before) * expected_error(x, level)
        for level, before, after in zip(levels[:-1], snr[:-1], snr[1:], strict=True)
    ]


# --- Terms ---


@pytest.mark.parametrize("log_snr", [-14.0, -2.0, 3.0])
def test_the_prior_term_is_the_divergence_of_two_normals(log_snr, float64):
    x = np.array([[0.3, -2.0], [0.0, 1.0]])
    variance = special.expit(-log_snr)
    for mean, found in zip(
        x * np.sqrt(special.expit(log_snr)), variational.prior_term(x, log_snr), strict=True
    ):
        expected = sum(
            integrate.quad(
                lambda z, m=m: (
                    stats.norm.pdf(z, m, variance**0.5)
                    * (stats.norm.logpdf(z, m, variance**0.5) - stats.norm.logpdf(z))
                ),
                m - 9.0 * variance**0.5,
                m + 9.0 * variance**0.5,
                epsabs=1e-13,
            )[0]
            for m in mean
        )
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def test_terms_of_an_estimate_that_ignores_its_input_are_differences_of_snr(float64):
    """Without any noise in them: the sum depends on the ends alone."""
    x, value = np.array([[0.5, -1.0], [2.0, 0.0]]), 0.25
    distance = np.sum((x - value) ** 2, axis=1)
    for num in (1, 2, 7):
        for schedule in (schedules.Cosine(-3.0, 5.0), schedules.LogSnrLinear(-3.0, 5.0)):
            grid = any_number(grids.bound_grid(schedule, num))
            terms = variational.discrete_terms(
                jax.random.key(0), constant, x, grid, condition=value
            )
            terms = np.asarray(terms)
            snr = np.exp(grid.log_snr(np.arange(num + 1)))
            expected = 0.5 * np.diff(snr) * distance[:, None]
            np.testing.assert_allclose(terms[:, :num], expected, rtol=1e-10)
            assert not np.any(terms[:, num:])
            total = 0.5 * (np.exp(5.0) - np.exp(-3.0)) * distance
            np.testing.assert_allclose(terms.sum(axis=1), total, rtol=1e-10)


def test_the_denoising_error_is_that_of_the_noise_over_the_snr():
    x, log_snr = rows(X), jnp.full(NUM, 0.7)
    found = variational.denoising_error(jax.random.key(0), unit_normal, x, log_snr)
    assert_mean(found, expected_error(X, 0.7))
    a, s = (np.sqrt(special.expit(sign * 0.7)) for sign in (1.0, -1.0))
    noise = np.asarray(process.draw_noise(jax.random.key(0), x), np.float64)
    x_t = a * X + s * noise
    of_noise = noise - (x_t - a * (a * x_t)) / s
    np.testing.assert_allclose(found, np.sum(of_noise**2, axis=1) * (s / a) ** 2, rtol=1e-3)


@functools.cache
def discrete(num):
    grid = any_number(grids.bound_grid(SCHEDULE, num))
    return np.asarray(variational.discrete_terms(jax.random.key(num), unit_normal, rows(X), grid))


@pytest.mark.parametrize("num", [1, 4, 16, 64])
def test_the_discrete_terms_are_those_of_the_closed_form(num):
    terms = discrete(num)
    for i, expected in enumerate(expected_discrete(X, -12.0, 12.0, num)):
        assert_mean(terms[:, i], expected)
    assert not np.any(terms[:, num:])


def test_the_discrete_bound_decreases_to_the_continuous_one():
    sums = [discrete(num).sum(axis=1) for num in (4, 16, 64)]
    found = variational.continuous_term(
        jax.random.key(0), unit_normal, rows(X), SCHEDULE, num_samples=16
    )
    limit = expected_diffusion(X, -12.0, 12.0)
    assert_mean(found, limit)
    error = [5.0 * np.std(one) / np.sqrt(NUM) for one in (*sums, found)]
    for i, (coarse, fine) in enumerate(zip(sums, [*sums[1:], np.asarray(found)], strict=True)):
        assert coarse.mean() - fine.mean() > np.hypot(error[i], error[i + 1])
    np.testing.assert_allclose(sum(expected_discrete(X, -12.0, 12.0, 20_000)), limit, rtol=1e-2)


def test_the_terms_sum_to_the_known_likelihood():
    """With a perfect denoiser nothing is lost between the ends of a wide schedule."""
    x = rows(X)
    keys = jax.random.split(jax.random.key(0))
    diffusion = variational.continuous_term(keys[0], unit_normal, x, SCHEDULE, num_samples=16)
    rest = variational.prior_term(x, -12.0) + variational.gaussian_reconstruction(
        keys[1], unit_normal, x, 12.0
    )
    assert_mean(diffusion + rest, -stats.norm.logpdf(X).sum())


def test_the_continuous_term_does_not_depend_on_samples_or_schedule():
    expected = expected_diffusion(X, -6.0, 6.0)
    for num_samples, schedule in (
        (1, schedules.LogSnrLinear(-6.0, 6.0)),
        (4, schedules.Cosine(-6.0, 6.0)),
    ):
        found = variational.continuous_term(
            jax.random.key(1), unit_normal, rows(X), schedule, num_samples=num_samples
        )
        assert_mean(found, expected)


def test_the_weighted_loss_is_a_sample_of_the_continuous_term():
    def predict(x_t, log_snr, condition):
        return process.target(
            x0 := unit_normal(x_t, log_snr, None), process.noise_of(x0, x_t, log_snr), log_snr, "v"
        )

    schedule = schedules.LogSnrLinear(-6.0, 6.0)
    found = losses.v_prediction(jax.random.key(3), predict, rows(X), schedule, weighting="bound")
    assert_mean(found, expected_diffusion(X, -6.0, 6.0))


def test_draws_are_spread_over_time():
    """Each of K has its K-th part of [0, 1]."""
    seen = []

    def denoise(x_t, log_snr, condition):
        jax.debug.callback(lambda levels: seen.append(np.asarray(levels)), log_snr)
        return x_t

    schedule = schedules.LogSnrLinear(-1.0, 3.0)
    variational.continuous_term(
        jax.random.key(0), denoise, jnp.ones((5, 1)), schedule, num_samples=4
    )
    jax.effects_barrier()
    t = (3.0 - np.sort(seen, axis=0)[::-1]) / 4.0
    np.testing.assert_array_equal(np.floor(4.0 * t), np.tile(np.arange(4.0)[:, None], (1, 5)))
    assert np.all(np.ptp(t, axis=1) > 0.0)
    with pytest.raises(ValueError, match="^num_samples: 0, expected at least 1"):
        variational.continuous_term(
            jax.random.key(0), denoise, jnp.ones((5, 1)), schedule, num_samples=0
        )


def test_bounds_of_trees_add_up():
    x = rows(X)
    tree = {"a": x[:, :1], "b": (x[:, 1:],)}

    def denoise(x_t, log_snr, condition):
        return jax.tree.map(lambda leaf: unit_normal(leaf, log_snr, None), x_t)

    key, grid = jax.random.key(0), grids.bound_grid(SCHEDULE, 4)
    np.testing.assert_allclose(
        variational.prior_term(tree, -2.0), variational.prior_term(x, -2.0), rtol=1e-6
    )
    terms = variational.discrete_terms(key, denoise, tree, grid)
    assert_mean(terms.sum(axis=1), sum(expected_discrete(X, -12.0, 12.0, 4)))
    assert_mean(
        variational.continuous_term(key, denoise, tree, SCHEDULE, num_samples=8),
        expected_diffusion(X, -12.0, 12.0),
    )
    left = variational.gaussian_reconstruction(key, denoise, tree, 3.0)
    assert_mean(left, 0.5 * np.exp(3.0) * expected_error(X, 3.0) + np.log(2.0 * np.pi) - 3.0)


# --- Reconstruction ---


def test_the_reconstruction_of_continuous_data_is_a_normal(float64):
    x, value = np.array([[0.5, -1.0], [2.0, 0.0]]), 0.25
    found = variational.gaussian_reconstruction(
        jax.random.key(0), constant, x, 3.0, condition=value
    )
    expected = -stats.norm.logpdf(x, value, np.exp(-1.5)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def masses(value, log_snr, levels):
    """Nats of every pixel value under one estimate."""
    return variational.discretized_reconstruction(
        jax.random.key(0),
        constant,
        jnp.arange(levels)[:, None],
        log_snr,
        levels=levels,
        condition=value,
    )


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_masses_of_all_levels_sum_to_1(levels):
    for value in (-3.0, -1.0, 0.1234, 1.0, 40.0):
        for log_snr in (-6.0, 2.0, 13.3):
            nats = np.asarray(masses(value, log_snr, levels), np.float64)
            assert np.all(nats >= 0.0)
            np.testing.assert_allclose(np.exp(-nats).sum(), 1.0, atol=1e-4)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_masses_are_those_of_open_bins(levels, float64):
    """Also far out, from the nearer tail."""
    for value, log_snr in ((0.3, 5.0), (-1.2, 9.0), (1.5, 11.0)):
        scale, half = np.exp(-0.5 * log_snr), 1.0 / (levels - 1)
        centres = 2.0 * np.arange(levels) / (levels - 1) - 1.0
        low = np.append(-np.inf, (centres[1:] - half - value) / scale)
        high = np.append((centres[:-1] + half - value) / scale, np.inf)
        with np.errstate(divide="ignore"):
            left = stats.norm.logcdf(high) + np.log1p(
                -np.exp(stats.norm.logcdf(low) - stats.norm.logcdf(high))
            )
            right = stats.norm.logsf(low) + np.log1p(
                -np.exp(stats.norm.logsf(high) - stats.norm.logsf(low))
            )
        expected = np.where(low + high < 0.0, left, right)
        np.testing.assert_allclose(masses(value, log_snr, levels), -expected, rtol=1e-5, atol=1e-5)


def test_the_mean_of_an_estimate_is_scored_at_the_scale_of_the_model():
    """A sure and right estimate costs nothing; pixels must be integers of the data."""
    x = jnp.array([[0, 3, 16], [16, 16, 1]])
    sure = variational.discretized_reconstruction(
        jax.random.key(0), lambda x_t, *_: x / 8.0 - 1.0, x, 20.0, levels=17
    )
    np.testing.assert_allclose(sure, np.zeros(2), atol=1e-6)
    with pytest.raises(ValueError, match="expected uint8 pixels 0 to 16"):
        variational.discretized_reconstruction(
            jax.random.key(0), constant, x / 16.0, 9.0, levels=17, condition=0.0
        )
