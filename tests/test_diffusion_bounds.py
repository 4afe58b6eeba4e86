"""Bounds and exact densities of diffusion models, on data whose density is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy import integrate, special, stats

from jaxgen.diffusion import grids, likelihood, losses, process, schedules, variational

SCHEDULE = schedules.LogSnrLinear(-12.0, 12.0)
NUM = 3000


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def unit_normal(x_t, log_snr, condition):
    """The denoiser of data N(0, I)."""
    return jnp.sqrt(jax.nn.sigmoid(log_snr))[:, None] * x_t


def constant(x_t, log_snr, value):
    return jnp.full_like(x_t, value)


def any_number(grid):
    """With the number of steps as an array, for which there is one program."""
    return grid._replace(num_steps=jnp.int32(grid.num_steps))


def rows(x):
    """Many copies of one example of two numbers."""
    return jnp.full((NUM, 2), jnp.asarray(x)[None])


def assert_mean(found, expected):
    """An estimate of one number is within five standard errors."""
    assert abs(np.mean(found) - expected) < 5.0 * np.std(found) / np.sqrt(len(found))


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


X = np.array([1.7, -0.4])


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


# --- The density by the ordinary differential equation ---

C = np.array([0.05, 0.2, 0.5, 1.0, 2.0])
ODE_GRID = grids.bound_grid(schedules.LogSnrLinear(-15.0, 6.0), 128)
A, S = (float(np.exp(row[128])) for row in (ODE_GRID.log_a, ODE_GRID.log_s))


def normals(x_t, log_snr, condition):
    """Of data with a deviation c for each number."""
    a, s = (jnp.sqrt(jax.nn.sigmoid(sign * log_snr))[:, None] for sign in (1.0, -1.0))
    square = jnp.asarray(C, x_t.dtype)[None] ** 2
    return a * square / (a**2 * square + s**2) * x_t


def test_the_log_density_of_normals_is_exact():
    std = np.sqrt(A**2 * C**2 + S**2)
    z = std * np.random.default_rng(0).normal(size=(6, len(C)))
    found = likelihood.ode_log_prob(normals, jnp.asarray(z, jnp.float32), ODE_GRID)
    expected = stats.norm.logpdf(z, scale=std).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * len(C))


MEANS, STD = np.array([-0.7, 0.3]), 0.15
WEIGHTS = np.array([0.3, 0.7])  # The mean is 0, which is all that the noisy end can tell.


def two_modes(x_t, log_snr, condition):
    """Posterior mean of a mixture of two normals, for each number by itself."""
    a, s = (jnp.sqrt(jax.nn.sigmoid(sign * log_snr))[:, None] for sign in (1.0, -1.0))
    variance = a**2 * STD**2 + s**2
    logits = [
        jnp.log(weight) - 0.5 * (x_t - a * mean) ** 2 / variance
        for weight, mean in zip(WEIGHTS, MEANS, strict=True)
    ]
    shares = jax.nn.softmax(jnp.stack(logits), axis=0)
    means = [mean + a * STD**2 / variance * (x_t - a * mean) for mean in MEANS]
    return sum(share * mean for share, mean in zip(shares, means, strict=True))


def test_the_log_density_of_two_modes_is_exact():
    z = jnp.linspace(-1.5, 1.5, 25)[:, None]
    found = likelihood.ode_log_prob(two_modes, z, ODE_GRID)
    logs = stats.norm.logpdf(np.asarray(z), A * MEANS, np.sqrt(A**2 * STD**2 + S**2))
    expected = special.logsumexp(logs + np.log(WEIGHTS), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_order_of_the_density_is_four(float64):
    z = jnp.linspace(-1.0, 1.0, 9)[:, None]

    def density(num):
        grid = any_number(grids.bound_grid(schedules.LogSnrLinear(-4.0, 4.0), num))
        return likelihood.ode_log_prob(two_modes, z, grid)

    exact = density(640)
    errors = [np.linalg.norm(density(num) - exact) for num in (40, 80)]
    assert np.log2(errors[0] / errors[1]) > 3.5


# --- Traces ---


def mixing(x):
    """A function whose Jacobian is full, of each example by itself."""
    flat = x.reshape(len(x), -1)
    weights = jnp.cos(jnp.arange(36.0)).reshape(6, 6)
    return jnp.sin(flat @ weights).reshape(x.shape)


def jacobian_trace(x):
    jacobians = jax.vmap(jax.jacrev(lambda one: mixing(one[None])[0].ravel()))(x)
    return jnp.trace(jacobians.reshape(len(x), 6, 6), axis1=1, axis2=2)


def test_the_exact_trace_is_that_of_autodiff(float64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 2)))
    y, trace = likelihood.exact_trace(mixing, x)
    np.testing.assert_allclose(y, mixing(x), rtol=1e-12)
    np.testing.assert_allclose(trace, jacobian_trace(x), rtol=1e-10)


def test_the_trace_along_signs_is_unbiased():
    x = jnp.broadcast_to(jnp.linspace(-1.0, 1.0, 6).reshape(1, 3, 2), (NUM, 3, 2))
    estimate = likelihood.hutchinson_trace(jax.random.key(0), x)
    y, trace = jax.jit(lambda x: estimate(mixing, x))(x)
    np.testing.assert_allclose(y, mixing(x), rtol=1e-6)
    assert np.std(trace) > 0.1
    assert_mean(trace, jacobian_trace(x[:1])[0])
    # The signs are those of the key of each example.
    keys = jax.random.split(jax.random.key(0), NUM)
    own = likelihood.hutchinson_trace(keys[7:8], x[7:8])(mixing, x[7:8])[1]
    np.testing.assert_allclose(own[0], trace[7], rtol=1e-5)


def test_along_signs_the_density_of_independent_numbers_is_exact():
    """Their Jacobian is diagonal, so that signs have no variance."""
    z = jnp.asarray(np.random.default_rng(1).normal(size=(6, len(C))), jnp.float32) * 0.3
    exact = likelihood.ode_log_prob(normals, z, ODE_GRID)
    trace = likelihood.hutchinson_trace(jax.random.key(0), z)
    found = likelihood.ode_log_prob(normals, z, ODE_GRID, trace=trace)
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-4)


def rotated(x_t, log_snr, condition):
    """Of correlated data: the five numbers of `normals`, turned."""
    turn = jnp.asarray(np.linalg.qr(np.vander(np.arange(1.0, 6.0)))[0], x_t.dtype)
    return normals(x_t @ turn, log_snr, condition) @ turn.T


def test_along_signs_the_density_is_unbiased():
    z = jnp.full((NUM, len(C)), jnp.array([0.1, -0.2, 0.3, 0.0, 0.2])[None])
    grid = grids.bound_grid(schedules.LogSnrLinear(-15.0, 2.0), 24)
    exact = likelihood.ode_log_prob(rotated, z[:1], grid)
    trace = likelihood.hutchinson_trace(jax.random.key(0), z)
    found = np.asarray(likelihood.ode_log_prob(rotated, z, grid, trace=trace))
    assert np.std(found) > 0.1
    assert_mean(found, exact[0])


# --- Gradients and programs ---


def test_densities_and_bounds_have_gradients_and_one_program_for_arrays():
    traces = []

    def scaled(scale, x_t, log_snr, condition):
        traces.append(1)
        return scale * unit_normal(x_t, log_snr, condition)

    x, grid = jnp.asarray(X, jnp.float32)[None], grids.bound_grid(SCHEDULE, 3)
    key = jax.random.key(0)

    def bound(scale):
        return jnp.sum(variational.discrete_terms(key, Partial(scaled, scale), x, grid))

    def density(scale):
        return likelihood.ode_log_prob(Partial(scaled, scale), x, grid)[0]

    for loss in (bound, density):
        (below, _), (_, slope), (above, _) = map(jax.value_and_grad(loss), (0.79, 0.8, 0.81))
        np.testing.assert_allclose(slope, (above - below) / 0.02, rtol=1e-2)
    traces.clear()
    for num in (2, 5, 9):
        grid = any_number(grids.bound_grid(SCHEDULE, num))
        likelihood.ode_log_prob(Partial(scaled, 0.8), x, grid, trace=likelihood.exact_trace)
        bound(0.8)
        if num == 2:
            after = len(traces)
    assert len(traces) == after
